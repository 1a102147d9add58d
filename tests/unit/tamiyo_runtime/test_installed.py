"""A device remembers the highest version of a bundle that it ran, and refuses to go back unless told to."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import DowngradeError, IntegrityError
from tamiyo_runtime.installed import FILE, check_version, record_version
from tamiyo_runtime.signing import SigningKey, Trust
from tests import tiny

KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))


def release(folder: Path, version: int, *, name: str = "tiny", key: SigningKey = KEY) -> Bundle:
    made, path = tiny.make(variants=("float",), policy=False), folder / f"{name}-{version}.tamiyo"
    write_bundle(path, replace(made.manifest, version=version, name=name), made.files, key, overwrite=True)
    return Bundle.open(path, trusted=Trust.of(KEY.public, OTHER.public))


def test_an_older_version_by_the_same_signer_is_refused_and_the_same_or_a_later_one_is_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    record_version(release(tmp_path, 3), folder=home)
    for version in (3, 4):
        check_version(release(tmp_path, version), folder=home)
    with pytest.raises(DowngradeError, match="is version 2 of 'tiny'; version 3 by the same signer ran") as caught:
        check_version(release(tmp_path, 2), folder=home)
    assert caught.value.exit_code == 6
    assert "--allow-downgrade" in str(caught.value.hint)
    check_version(release(tmp_path, 1, name="another"), folder=home)
    check_version(release(tmp_path, 1, key=OTHER), folder=home)


def test_the_record_only_rises(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for version in (5, 2, 4):
        record_version(release(tmp_path, version), folder=home)
    with pytest.raises(DowngradeError, match="version 5"):
        check_version(release(tmp_path, 4), folder=home)


def test_a_first_version_needs_no_writable_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    check_version(release(tmp_path, 1), folder=home)
    record_version(release(tmp_path, 1), folder=home)
    assert not home.exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": "tamiyo.installed/1", "versions": {"a": {"tiny": "3"}}}',
        b'{"schema": "tamiyo.installed/1", "versions": {"a": {"tiny": 0}}}',
        b'{"schema": "other/1"}',
    ],
)
def test_a_damaged_record_stops_the_device_and_says_what_to_do(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    for action in (check_version, record_version):
        with pytest.raises(IntegrityError, match=f"{tmp_path / FILE} is damaged") as caught:
            action(release(tmp_path, 2), folder=tmp_path)
        assert "delete it" in str(caught.value.hint)
        assert len(caught.value.message.splitlines()) == 1


def _record_all(folder: str, first: int) -> None:
    for version in range(first, 24, 3):
        record_version(release(Path(folder) / str(first), version), folder=Path(folder))


def test_processes_that_write_at_once_do_not_lose_the_highest(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for first in (1, 2, 3):
        (tmp_path / str(first)).mkdir()
    processes = [context.Process(target=_record_all, args=(str(tmp_path), first)) for first in (1, 2, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert json.loads((tmp_path / FILE).read_text())["versions"] == {KEY.public.id: {"tiny": 23}}


def test_run_refuses_on_this_machine_and_not_on_a_simulated_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tamiyo_home: Path
) -> None:
    Trust.add(KEY.public, "factory")
    for version in (1, 2):
        release(tmp_path, version)

    def run(version: int, *more: str) -> int:
        path = str(tmp_path / f"tiny-{version}.tamiyo")
        return main(["run", path, "--samples", "2", "--period-ms", "0", "--latency-ms", "0", *more])

    assert run(2, "--device", "simulated:test-board") == 0
    assert not (tamiyo_home / FILE).exists()
    assert run(2, "--dry-run") == 0
    assert json.loads((tamiyo_home / FILE).read_text())["versions"] == {}
    assert run(2) == 0
    assert (tamiyo_home / FILE).exists()
    assert run(1, "--device", "simulated:test-board") == 0
    capsys.readouterr()
    assert run(1) == 6
    assert run(1, "--dry-run") == 6
    out, err = capsys.readouterr()
    assert out == ""
    assert "hint: run the later one; if the older one is meant, pass --allow-downgrade" in err
    assert run(1, "--allow-downgrade") == 0
    assert run(1) == 6, "it was allowed once"
