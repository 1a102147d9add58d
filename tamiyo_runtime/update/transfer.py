"""A file that arrives in chunks: in any order, some twice, some damaged, over any number of restarts.

The file itself is the only record of what has arrived: at a restart every chunk in it is hashed, and whatever a power
cut tore is simply missing. That also finds chunks that the slot's previous bundle had in the same place, which then
need not be sent. One chunk is in memory at a time, and one bit a chunk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum

from tamiyo_runtime.update.chunks import Chunks
from tamiyo_runtime.update.disk import Disk

SYNC_EVERY = 64
"""Chunks between two syncs: what a power cut may undo."""

_PIECE = 64 << 10


class Arrival(StrEnum):
    """What became of a chunk."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CORRUPT = "corrupt"  # not what the list says; to be sent again


class Receiver:
    """Takes chunks for one file. ``name`` is that of the file on the disk; it exists and has its full size."""

    def __init__(self, disk: Disk, name: str, chunks: Chunks) -> None:
        self.chunks = chunks
        self._disk = disk
        self._name = name
        self._have = bytearray(-(-chunks.count // 8))
        self._unsynced = 0
        self.received = 0
        for index in range(chunks.count):
            if chunks.holds(index, disk.read(name, index * chunks.chunk_bytes, chunks.length(index))):
                self._mark(index)

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return self.received == self.chunks.count

    def missing(self) -> Iterator[int]:
        """Indices of the chunks that are still to come, in order."""
        return (index for index in range(self.chunks.count) if not self._has(index))

    def take(self, index: int, data: bytes) -> Arrival:
        """A chunk arrived. One that is not as listed changes nothing, wherever it came from."""
        if not self.chunks.holds(index, data):
            return Arrival.CORRUPT
        if self._has(index):
            return Arrival.DUPLICATE
        self._disk.write_at(self._name, index * self.chunks.chunk_bytes, data)
        self._mark(index)
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            self.sync()
        return Arrival.STORED

    def sync(self) -> None:
        """Make what has arrived durable."""
        self._disk.sync(self._name)
        self._unsynced = 0

    def _has(self, index: int) -> bool:
        return bool(self._have[index >> 3] >> (index & 7) & 1)

    def _mark(self, index: int) -> None:
        self._have[index >> 3] |= 1 << (index & 7)
        self.received += 1


def hash_file(disk: Disk, name: str, size_bytes: int) -> str | None:
    """SHA-256 of a file in hexadecimal; None when it is missing or has another size."""
    if disk.size(name) != size_bytes:
        return None
    whole = hashlib.sha256()
    for offset in range(0, size_bytes, _PIECE):
        whole.update(disk.read(name, offset, min(_PIECE, size_bytes - offset)))
    return whole.hexdigest()
