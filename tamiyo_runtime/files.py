"""Files that are whole or absent: written beside, synced, then put in place in one step.

A process killed at any moment leaves the old file or the new one, never half of one. What may be left behind is a
temporary file whose name starts with a dot and ends in ``.part``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tamiyo_runtime.contracts.errors import InputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_SQLITE_FULL = 13  # as sqlite3.SQLITE_FULL, without loading that for it


def write_atomic(path: Path, data: bytes, *, overwrite: bool, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` atomically and durably; ``mode`` is that of the new file, less the umask.

    Missing folders are made, for nobody but us where the file is. Raises InputError when the file exists and
    ``overwrite`` is False, or when the folder cannot be written.
    """
    with write_in_place(path, overwrite=overwrite, mode=mode) as stream:
        stream.write(data)


@contextlib.contextmanager
def write_in_place(path: Path, *, overwrite: bool, mode: int = 0o644) -> Iterator[BinaryIO]:
    """The same for what is too large to be held: a stream beside ``path``, put in its place when the block ends well.

    Raises what `write_atomic` raises, also for an OSError in the block.
    """
    if path.exists() and not overwrite:
        raise _exists(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        if mode & 0o077:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            private_folder(path.parent)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            _put_in_place(part, path, overwrite=overwrite)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as exc:
        raise InputError(
            f"cannot write {path}: {exc.strerror}", hint="check the folder, its permissions and its free space"
        ) from exc


def check_writable(path: Path) -> None:
    """Raise InputError when ``path`` can plainly not be written: found before minutes of work, not after.

    Folders that are not there yet are made when the file is written.
    """
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"cannot write {path}: {nearest} is not a folder", hint="choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {nearest}", hint="choose another place")


def write_atomic_text(path: Path, text: str, *, overwrite: bool) -> None:
    """``write_atomic`` for text, as UTF-8."""
    write_atomic(path, text.encode(), overwrite=overwrite)


def read_bytes(path: Path, *, limit_bytes: int, what: str) -> bytes:
    """The file's contents; raises InputError naming ``what`` when it is missing, unreadable or over the limit."""
    try:
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}", hint="check the path") from None
    except OSError as exc:
        raise InputError(f"cannot read {what} {path}: {exc.strerror}", hint="check the path and permissions") from exc
    if len(data) > limit_bytes:
        raise InputError(f"{what} {path} exceeds the limit of {limit_bytes} bytes", hint="is this the right file?")
    return data


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for nobody but us, whatever the umask; raises OSError."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def private_file(path: Path) -> None:
    """Make an empty file for nobody but us, whatever the umask, unless there is one; raises OSError.

    For libraries that would make it with the umask's rights.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def private_opener(path: str, flags: int) -> int:
    """An ``opener`` for `open`: what it makes is for nobody but us."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def default_state_dir() -> Path:
    """Where spool, store and audit log of a run live unless told otherwise: ``$XDG_STATE_HOME/tamiyo``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "tamiyo"


def lacks_space(exc: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that a disk is full."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in _NO_SPACE:
            return True
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF == _SQLITE_FULL:
            return True
        exc = exc.__cause__
    return False


def folder_in_memory() -> str | None:
    """For what is small and gone with the process: a folder that has room when every disk is full; None without one.

    As the ``dir`` of `tempfile`'s functions, which else look for a folder by writing to it.
    """
    candidates = (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm")  # noqa: S108  what is made there has a random name
    return next((path for path in candidates if path and os.access(path, os.W_OK | os.X_OK)), None)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_in_place(part: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        part.replace(path)
        return
    try:
        path.hardlink_to(part)  # unlike a rename, fails when another process made the file meanwhile
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # no hard links here, as on FAT: the check at the start has to do
        part.replace(path)


def _exists(path: Path) -> InputError:
    return InputError(f"{path} exists already", hint="pass --overwrite to replace it")
