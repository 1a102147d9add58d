"""Columns of non-negative integers as varints: the layer below the compact record codec.

A varint holds 7 bits a byte, low bits first, the top bit set on all bytes but the last. A column of one value is that
varint. A longer column takes whichever of four modes is smallest; the modes of a group of columns come first,
two bits each, four to a byte:

    PLAIN     every value
    DELTA     the first value, then zigzag differences
    CONSTANT  one value for all rows
    STEP      the first value and one zigzag difference for all rows

Reading never trusts its input: whatever the bytes, it returns values in ``[0, LIMIT)`` or raises SchemaError.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from tamiyo_runtime.contracts.errors import SchemaError

LIMIT = 1 << 63
"""Values are below this, so that every one fits a signed 64-bit integer of a database."""

_PLAIN, _DELTA, _CONSTANT, _STEP = range(4)
_VARINT_BYTES = 10


def zigzag(value: int) -> int:
    """Map a signed integer to a small non-negative one: 0, -1, 1, -2 ... -> 0, 1, 2, 3 ..."""
    return value + value if value >= 0 else -value - value - 1


def unzigzag(value: int) -> int:
    """The inverse of `zigzag`."""
    return -(value + 1 >> 1) if value & 1 else value >> 1


def put_varint(out: bytearray, value: int) -> None:
    """Append one varint; raises SchemaError outside ``[0, LIMIT)``."""
    if not 0 <= value < LIMIT:
        raise SchemaError("wire", f"{value} is outside 0..2^63-1")
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def put_columns(out: bytearray, columns: Sequence[Sequence[int]]) -> None:
    """Append columns of one common length; raises SchemaError for a value outside ``[0, LIMIT)``."""
    rows = len(columns[0])
    if rows == 0:
        return
    for column in columns:
        if min(column) < 0 or max(column) >= LIMIT:
            raise SchemaError("wire", f"a value in {min(column)}..{max(column)} is outside 0..2^63-1")
    if rows == 1:
        for column in columns:
            out += _varints(column)
        return
    coded = [_smallest(column) for column in columns]
    for start in range(0, len(coded), 4):
        out.append(sum(mode << 2 * i for i, (mode, _) in enumerate(coded[start : start + 4])))
    for _, data in coded:
        out += data


def _smallest(column: Sequence[int]) -> tuple[int, bytearray]:
    first = column[0]
    deltas = [b - a for a, b in pairwise(column)]
    step = deltas[0]
    if deltas.count(step) == len(deltas):
        if step == 0:
            return _CONSTANT, _varints((first,))
        if len(deltas) > 1:
            return _STEP, _varints((first, zigzag(step)))
    plain = _varints(column)
    delta = _varints([first, *[d + d if d >= 0 else -d - d - 1 for d in deltas]])
    return (_PLAIN, plain) if len(plain) <= len(delta) else (_DELTA, delta)


def _varints(values: Sequence[int]) -> bytearray:
    out = bytearray()
    append = out.append
    for value in values:
        while value > 127:
            append(value & 127 | 128)
            value >>= 7  # noqa: PLW2901 - consuming the value is what a varint loop does
        append(value)
    return out


class Reader:
    """A cursor over untrusted bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def done(self) -> None:
        """Raise SchemaError unless every byte was read."""
        if self._at != len(self._data):
            raise SchemaError("wire", f"{len(self._data) - self._at} bytes are left over")

    @property
    def at(self) -> int:
        """How many bytes have been read."""
        return self._at

    def since(self, start: int) -> bytes:
        """The bytes read since ``start``, an earlier `at`."""
        return self._data[start : self._at]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise SchemaError("wire", f"truncated at byte {len(self._data)}")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def varint(self, *, below: int = LIMIT) -> int:
        """The next varint; raises SchemaError when it is not under ``below``."""
        at, data = self._at, self._data
        if at < len(data) and data[at] < 128:  # as most are
            self._at = at + 1
            value = data[at]
        else:
            value = self._raw()
        if value >= below:
            raise SchemaError("wire", f"{value} is not below {below}")
        return value

    def columns(self, count: int, rows: int) -> list[list[int]]:
        """``count`` columns of ``rows`` values, as `put_columns` wrote them. The caller bounds ``rows``."""
        if rows == 0:
            return [[] for _ in range(count)]
        if rows == 1:
            values = self._raws(count)
            if max(values) >= LIMIT:
                raise SchemaError("wire", f"{max(values)} is not below {LIMIT}")
            return [[value] for value in values]
        flags = self.take((count + 3) // 4)
        modes = [flags[i // 4] >> 2 * (i % 4) & 3 for i in range(count)]
        return [self._column(mode, rows) for mode in modes]

    def _column(self, mode: int, rows: int) -> list[int]:
        first = self.varint()
        if mode == _CONSTANT:
            return [first] * rows
        if mode == _STEP:
            step = unzigzag(self._raw())
            last = first + step * (rows - 1)
            if not 0 <= last < LIMIT:
                raise SchemaError("wire", f"{last} is outside 0..2^63-1")
            return [first + step * i for i in range(rows)]
        rest = self._raws(rows - 1)
        if mode == _DELTA:
            rest = list(accumulate([-(v + 1 >> 1) if v & 1 else v >> 1 for v in rest], initial=first))
            del rest[0]
        if min(rest) < 0 or max(rest) >= LIMIT:
            raise SchemaError("wire", "a value is outside 0..2^63-1")
        return [first, *rest]

    def _raws(self, count: int) -> list[int]:
        """``count`` integers at once: what `_raw` would read one by one. Most of a collector's reading happens here."""
        data, at = self._data, self._at
        short = data[at : at + count]
        if len(short) == count and short.isascii():  # no byte has its top bit set, so each is a value
            self._at = at + count
            return list(short)
        values: list[int] = []
        append = values.append
        try:
            for _ in range(count):
                byte = data[at]
                at += 1
                if byte > 127:
                    value, shift = byte & 127, 7
                    while (byte := data[at]) > 127:
                        value |= (byte & 127) << shift
                        shift += 7
                        at += 1
                        if shift >= 7 * _VARINT_BYTES:
                            raise SchemaError("wire", "an integer of more than 70 bits")
                    at += 1
                    byte = value | byte << shift
                append(byte)
        except IndexError:
            raise SchemaError("wire", f"truncated at byte {len(data)}") from None
        self._at = at
        return values

    def _raw(self) -> int:
        data, at = self._data, self._at
        value = shift = 0
        try:
            while (byte := data[at]) > 127:
                value |= (byte & 127) << shift
                shift += 7
                at += 1
                if shift >= 7 * _VARINT_BYTES:
                    raise SchemaError("wire", "an integer of more than 70 bits")
        except IndexError:
            raise SchemaError("wire", f"truncated at byte {len(data)}") from None
        self._at = at + 1
        return value | byte << shift
