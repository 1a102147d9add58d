"""Files are whole or absent, and nothing is replaced unasked."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import (
    check_writable,
    folder_in_memory,
    lacks_space,
    read_bytes,
    write_atomic,
    write_atomic_text,
    write_in_place,
)


def test_a_full_disk_is_found_out_through_what_was_made_of_it(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError) as wrapped, write_in_place(tmp_path / "file", overwrite=False):
        raise full
    with pytest.raises(InputError) as other, write_in_place(tmp_path / "file", overwrite=False):
        raise PermissionError(errno.EACCES, "Permission denied")
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.executescript("PRAGMA max_page_count = 2; CREATE TABLE a (b)")
        with pytest.raises(sqlite3.OperationalError) as sqlite:
            db.execute("INSERT INTO a VALUES (zeroblob(100000))")
    assert all(map(lacks_space, (full, wrapped.value, sqlite.value)))
    assert not any(map(lacks_space, (other.value, InputError("what else"), None)))


def test_what_needs_no_disk_goes_to_memory_where_there_is_a_folder_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert folder_in_memory() == str(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert folder_in_memory() in {"/dev/shm", None}


def test_a_file_is_written_into_folders_that_do_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomic_text(path, "text", overwrite=False)
    assert path.read_text() == "text"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_an_existing_file_is_kept_unless_overwriting_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old", overwrite=False)
    with pytest.raises(InputError, match="exists already") as caught:
        write_atomic(path, b"new", overwrite=False)
    assert path.read_bytes() == b"old"
    assert "--overwrite" in str(caught.value.hint)
    write_atomic(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"


def test_a_file_made_meanwhile_by_another_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    real_open = os.open

    def open_late(*arguments: object) -> int:
        path.write_bytes(b"theirs")
        monkeypatch.setattr(os, "open", real_open)
        return real_open(*arguments)  # type: ignore[arg-type]  # passed through as they came

    monkeypatch.setattr(os, "open", open_late)
    with pytest.raises(InputError, match="exists already"):
        write_atomic(path, b"ours", overwrite=False)
    assert path.read_bytes() == b"theirs"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_when_writing_fails_the_old_file_stays_and_no_part_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_atomic(path, b"new", overwrite=True)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_reading_says_what_is_missing_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bundle not found"):
        read_bytes(tmp_path / "none", limit_bytes=10, what="bundle")
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(InputError, match="exceeds the limit of 10 bytes"):
        read_bytes(tmp_path / "large", limit_bytes=10, what="bundle")
    with pytest.raises(InputError, match="Is a directory"):
        read_bytes(tmp_path, limit_bytes=10, what="bundle")


def test_a_place_that_cannot_be_written_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "not" / "yet" / "there")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        check_writable(tmp_path / "file" / "below")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(InputError, match="no permission to write in"):
        check_writable(tmp_path / "not" / "yet")
