"""A disk in memory whose power can be cut: at any operation, with any of what was not synced lost.

Files and folders are kept twice: as a running system sees them, and as they are certain to be after a cut. POSIX
promises that contents last after a sync of the file, names after a sync of the folder, and that a rename is never half
done; of everything else a cut leaves the old, the new, or, of contents, a part of the new.
"""

from __future__ import annotations

import random
from enum import StrEnum

from tamiyo_runtime.contracts.errors import InputError


class PowerCut(BaseException):
    """Not an Exception: nothing in the code under test may catch it and go on."""


class Fate(StrEnum):
    """What becomes of that which was not synced."""

    LOST = "lost"
    KEPT = "kept"  # only the process died: all is there, and the next cut may still take what was not synced
    MIXED = "mixed"  # each piece by chance, contents also torn


class _File:
    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = bytes(data)


class CuttingDisk:
    """The port ``Disk``. ``cut_at`` None never cuts; else the operation of that number, from 0, is the last."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.cut_at = cut_at
        self.operations = 0
        self._files: dict[str, _File] = {}
        self._durable: dict[str, _File] = {}
        self._folders: set[str] = {""}
        self._durable_folders: set[str] = {""}

    def size(self, name: str) -> int | None:
        return len(self._files[name].data) if name in self._files else None

    def read(self, name: str, offset: int, length: int) -> bytes:
        return bytes(self._file(name).data[offset : offset + length])

    def write(self, name: str, data: bytes) -> None:
        assert _folder(name) in self._folders, f"no folder for {name}"
        cut = self._cuts()
        file = self._files.setdefault(name, _File())
        file.data = bytearray(data)
        self._end(cut)

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        cut = self._cuts()
        self._file(name).data[offset : offset + len(data)] = data
        self._end(cut)

    def resize(self, name: str, size_bytes: int) -> None:
        assert _folder(name) in self._folders, f"no folder for {name}"
        cut = self._cuts()
        file = self._files.setdefault(name, _File())
        file.data = (file.data + bytes(max(0, size_bytes - len(file.data))))[:size_bytes]
        self._end(cut)

    def sync(self, name: str) -> None:
        self._end(self._cuts())  # cut before it has an effect
        file = self._file(name)
        file.durable = bytes(file.data)

    def rename(self, source: str, target: str) -> None:
        cut = self._cuts()
        self._files[target] = self._files.pop(source)
        self._end(cut)

    def make_folder(self, name: str) -> None:
        cut = self._cuts()
        self._folders.add(name)
        self._end(cut)

    def sync_folder(self, name: str) -> None:
        self._end(self._cuts())
        within = {path for path in {*self._files, *self._durable} if _folder(path) == name}
        for path in within:
            if path in self._files:
                self._durable[path] = self._files[path]
            else:
                self._durable.pop(path)
        if name == "":
            self._durable_folders = set(self._folders)

    def after_cut(self, fate: Fate, draw: random.Random, cut_at: int | None = None) -> CuttingDisk:
        """The disk as it is found when the power is back."""
        if fate is Fate.KEPT:
            self.cut_at, self.operations = cut_at, 0
            return self
        found = CuttingDisk(cut_at)
        found._folders = {f for f in self._folders if f in self._durable_folders or self._lasts(fate, draw)}
        found._durable_folders = set(found._folders)
        for path in sorted({*self._files, *self._durable}):
            new, old = self._files.get(path), self._durable.get(path)
            file = new if new is old or self._lasts(fate, draw) else old
            if file is not None and _folder(path) in found._folders:
                found._files[path] = found._durable[path] = _File(self._contents(file, fate, draw))
        return found

    def corrupt(self, name: str, at: int) -> None:
        """One bit turns over."""
        file = self._file(name)
        file.data[at] ^= 1
        file.durable = bytes(file.data)

    @staticmethod
    def _lasts(fate: Fate, draw: random.Random) -> bool:
        return fate is Fate.MIXED and draw.random() < 0.5

    @staticmethod
    def _contents(file: _File, fate: Fate, draw: random.Random) -> bytes:
        if fate is Fate.LOST:
            return file.durable
        torn = draw.randint(0, len(file.data))
        return bytes(file.data[:torn]) + file.durable[torn:]

    def _cuts(self) -> bool:
        self.operations += 1
        return self.cut_at is not None and self.operations > self.cut_at

    def _end(self, cut: bool) -> None:
        if cut:
            raise PowerCut

    def _file(self, name: str) -> _File:
        if name not in self._files:
            raise InputError(f"no file {name}")
        return self._files[name]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
