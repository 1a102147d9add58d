"""The few operations on files that an update needs, as a port: a test gives it a disk whose power can be cut.

What the rest of the package may rely on is what POSIX promises and no more: a write lasts after ``sync`` of its file,
a new name or a rename after ``sync_folder`` of its folder, and a rename is never half done.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import private_opener

_LOCK_STEP_S = 0.02


class BusyError(InputError):
    """Another process works in the folder."""


class Disk(Protocol):
    """A folder with files and folders in it. Names are relative, with ``/``; the empty name is the folder itself."""

    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None when there is none."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; raises InputError when the file is missing."""

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a whole file; not atomic."""

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        """Write into an existing file."""

    def resize(self, name: str, size_bytes: int) -> None:
        """Make a file of that size, or cut or lengthen the one that is there; what is new in it reads as zeros."""

    def sync(self, name: str) -> None:
        """Make the contents of a file durable."""

    def rename(self, source: str, target: str) -> None:
        """Put a file in another's place in one step."""

    def make_folder(self, name: str) -> None:
        """Make a folder unless it is there."""

    def sync_folder(self, name: str) -> None:
        """Make names in a folder durable."""


class LocalDisk:
    """A folder of this machine. Raises InputError for what the operating system refuses, a full disk among it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, name: str) -> int | None:
        """See `Disk`."""
        with self._explained(name):
            try:
                return (self.root / name).stat().st_size
            except FileNotFoundError:
                return None

    def read(self, name: str, offset: int, length: int) -> bytes:
        """See `Disk`."""
        with self._explained(name), (self.root / name).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def write(self, name: str, data: bytes) -> None:
        """See `Disk`."""
        with self._explained(name), open(self.root / name, "wb", opener=private_opener) as stream:
            stream.write(data)

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        """See `Disk`."""
        with self._explained(name), (self.root / name).open("r+b") as stream:
            stream.seek(offset)
            stream.write(data)

    def resize(self, name: str, size_bytes: int) -> None:
        """See `Disk`."""
        with self._explained(name), open(self.root / name, "ab", opener=private_opener) as stream:
            stream.truncate(size_bytes)

    def sync(self, name: str) -> None:
        """See `Disk`."""
        with self._explained(name):
            _sync(self.root / name, os.O_RDONLY)

    def rename(self, source: str, target: str) -> None:
        """See `Disk`."""
        with self._explained(target):
            (self.root / source).replace(self.root / target)

    def make_folder(self, name: str) -> None:
        """See `Disk`."""
        with self._explained(name):
            (self.root / name).mkdir(exist_ok=True, mode=0o700)

    def sync_folder(self, name: str) -> None:
        """See `Disk`."""
        with self._explained(name):
            _sync(self.root / name, os.O_RDONLY | os.O_DIRECTORY)

    @contextmanager
    def locked(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """One process at a time; the lock goes with the process.

        Raises BusyError when another still holds it after ``patience_s``: a running device does so for moments only.
        """
        with self._explained(".lock"), open(self.root / ".lock", "w", opener=private_opener) as lock:
            if not _take(lock.fileno(), patience_s):
                raise BusyError(f"another update works in {self.root}", hint="wait until it has ended")
            yield

    @contextmanager
    def occupied(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """One run at a time, beside which updates work as ever; the lock goes with the process.

        It is the folder that is locked, since a full disk may have no file to give. Raises BusyError when another run
        is still there after ``patience_s``.
        """
        with self._explained(""):
            folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._explained(""):
                free = _take(folder, patience_s)
            if not free:
                raise BusyError(
                    f"another process runs what is in {self.root}",
                    hint="end that one first; tamiyo update apply, obey and confirm work beside it",
                )
            yield
        finally:
            os.close(folder)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise InputError(
                f"cannot use {self.root / name}: {exc.strerror}",
                hint="check the folder, its permissions and free space",
            ) from exc


def _take(handle: int, patience_s: float) -> bool:
    """Lock an open file or folder; False when somebody else still has it after that time."""
    until_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                return False
            time.sleep(_LOCK_STEP_S)
        else:
            return True


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
