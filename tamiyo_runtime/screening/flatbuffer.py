"""A reader of flatbuffers that trusts no offset (https://flatbuffers.dev/internals).

A table is where its position says; at that place stands how far before it its vtable begins: two sizes, then the offset
of each field within the table, 0 where it is absent. Everything larger than a number is a forward offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tamiyo_runtime.screening.unsafe import UnsafeGraph

_WIDTH = {"b": 1, "B": 1, "i": 4, "I": 4, "q": 8, "Q": 8}
MAX_ITEMS = 1 << 16  # tables of one vector: tensors, operators, buffers


def number(data: bytes, at: int, code: str) -> int:
    """A little-endian number; raises UnsafeGraph when it is not inside the file."""
    size = struct.calcsize(f"<{code}")
    if not 0 <= at <= len(data) - size:
        raise UnsafeGraph(f"points to byte {at} of {len(data)}")
    return int(struct.unpack_from(f"<{code}", data, at)[0])


class Table:
    """A table whose own bytes and vtable lie inside the file; fields are checked as they are asked for."""

    __slots__ = ("_data", "_fields", "_size", "at")

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self.at = data, at
        vtable = at - number(data, at, "i")
        length, self._size = number(data, vtable, "H"), number(data, vtable + 2, "H")
        if length < 4 or length % 2 or vtable + length > len(data):
            raise UnsafeGraph(f"has a damaged table at byte {at}")
        if self._size < 4 or at + self._size > len(data):
            raise UnsafeGraph(f"has a table at byte {at} that ends outside the file")
        self._fields = struct.unpack_from(f"<{length // 2 - 2}H", data, vtable + 4)
        if any(offset >= self._size for offset in self._fields):
            raise UnsafeGraph(f"has a table at byte {at} with a field outside it")

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The table that the file begins with."""
        return cls(data, number(data, 0, "I"))

    def has(self, index: int) -> bool:
        """Whether a field is present."""
        return index < len(self._fields) and self._fields[index] != 0

    def scalar(self, index: int, code: str, default: int = 0) -> int:
        """A number stored in the table."""
        if not self.has(index):
            return default
        offset: int = self._fields[index]
        if offset + _WIDTH[code] > self._size:
            raise UnsafeGraph(f"has a table at byte {self.at} with a field outside it")
        return number(self._data, self.at + offset, code)

    def table(self, index: int) -> Table | None:
        """A table that a field points to."""
        return Table(self._data, self._target(index)) if self.has(index) else None

    def span(self, index: int, item_bytes: int) -> tuple[int, int]:
        """Start and number of items of a vector; (0, 0) when it is absent."""
        if not self.has(index):
            return 0, 0
        at = self._target(index)
        count = number(self._data, at, "I")
        if count * item_bytes > len(self._data) - at - 4:
            raise UnsafeGraph(f"has a list at byte {at} of {count} items that ends outside the file")
        return at + 4, count

    def numbers(self, index: int, code: str) -> tuple[int, ...]:
        """A vector of numbers."""
        start, count = self.span(index, _WIDTH[code])
        found: tuple[int, ...] = struct.unpack_from(f"<{count}{code}", self._data, start)
        return found

    def tables(self, index: int) -> Iterator[Table]:
        """A vector of tables."""
        start, count = self.span(index, 4)
        if count > MAX_ITEMS:
            raise UnsafeGraph(f"has a list of {count} parts, the limit is {MAX_ITEMS}")
        for at in range(start, start + 4 * count, 4):
            yield Table(self._data, at + number(self._data, at, "I"))

    def _target(self, index: int) -> int:
        at: int = self.at + self._fields[index]
        return at + number(self._data, at, "I")
