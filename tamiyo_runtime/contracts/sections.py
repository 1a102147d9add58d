"""The sections of a frame: records of one kind, their numbers as runs, and what this version does not know of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tamiyo_runtime.contracts.columns import LIMIT, Reader, put_varint
from tamiyo_runtime.contracts.document import parse_json, require
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import KINDS, Numbered, Record, Sample
from tamiyo_runtime.contracts.rows import CODE_OF_KIND, LAYOUTS, Strings

MAX_RECORDS = 4096
MAX_EXTRA_BYTES = 4096
SINGLE = 0x20
"""In place of a number of sections, added to a kind: the frame holds one record of that kind, and its row follows."""


def put_single(out: bytearray, record: Record, strings: Strings, boot: int) -> None:
    """Append the only record of a frame."""
    code = CODE_OF_KIND[record.KIND]
    put_varint(out, SINGLE + code)
    LAYOUTS[code].put(out, [record], strings, boot)


def is_short(record: Record) -> bool:
    """Whether it may stand alone. Samples never do: a collector keeps their sections as they came."""
    return not isinstance(record, Sample) and not record.extra


def read_count(reader: Reader, version: int) -> int:
    """The number of sections, or what `read_single` wants; raises SchemaError."""
    highest = max(LAYOUTS)
    count = reader.varint(below=SINGLE + highest + 1)
    require(count <= len(LAYOUTS) or (count >= SINGLE and version > 1), "frame", f"{count} is no number of sections")
    return count


def read_single(reader: Reader, count: int, seq: int, strings: Strings, boot: int) -> list[Numbered]:
    """The only record of a frame; raises SchemaError."""
    code = count - SINGLE
    require(code in LAYOUTS and code != CODE_OF_KIND[Sample.KIND], "frame", f"kind {code} does not stand alone")
    rows, tails = LAYOUTS[code].read(reader, 1)
    return [Numbered(seq, LAYOUTS[code].build(rows[0], tails[0], strings, boot, {}))]


def put_section(
    out: bytearray, code: int, rows: Sequence[Numbered], strings: Strings, boot: int, *, lowest: int, has_extra: bool
) -> None:
    """Append the records of one kind."""
    put_varint(out, code)
    put_varint(out, len(rows))
    _put_runs(out, [numbered.seq for numbered in rows], lowest)
    LAYOUTS[code].put(out, [numbered.record for numbered in rows], strings, boot)
    if has_extra:
        carriers = [(place, numbered.record) for place, numbered in enumerate(rows) if numbered.record.extra]
        put_varint(out, len(carriers))
        for place, record in carriers:
            put_varint(out, place)
            put_extra(out, record)


def read_section(
    reader: Reader, code: int, strings: Strings, boot: int, *, lowest: int, has_extra: bool
) -> list[Numbered]:
    """The records of a section, whose code has been read."""
    count = reader.varint(below=MAX_RECORDS + 1)
    require(count > 0, "frame", "an empty section")
    numbers = _read_runs(reader, count, lowest)
    layout = LAYOUTS[code]
    rows, counts = layout.read(reader, count)
    extras = read_extras(reader, count, layout.kind) if has_extra else {}
    return [
        Numbered(seq, layout.build(row, pairs, strings, boot, extras.get(place, {})))
        for place, (seq, row, pairs) in enumerate(zip(numbers, rows, counts, strict=True))
    ]


def read_extras(reader: Reader, count: int, kind: str) -> dict[int, dict[str, Any]]:
    """The extra fields at the end of a section of ``count`` records, by place."""
    extras: dict[int, dict[str, Any]] = {}
    for _ in range(reader.varint(below=count + 1)):
        place = reader.varint(below=count)
        require(place not in extras, "frame", "extra fields are given twice")
        extras[place] = read_extra(reader, kind)
    return extras


def _put_runs(out: bytearray, numbers: Sequence[int], lowest: int) -> None:
    """Ascending numbers as runs: (gap, length) until all are covered. A batch without gaps takes two bytes."""
    free = start = lowest
    length = 0
    for seq in numbers:
        if length and seq == start + length:
            length += 1
            continue
        if length:
            put_varint(out, length)
            free = start + length
        require(seq >= free, "records", f"number {seq} is given twice")
        put_varint(out, seq - free)
        start, length = seq, 1
    put_varint(out, length)


def _read_runs(reader: Reader, count: int, lowest: int) -> list[int]:
    numbers: list[int] = []
    free = lowest
    while len(numbers) < count:
        start = free + reader.varint()
        length = reader.varint(below=count - len(numbers) + 1)
        require(length > 0, "frame", "an empty run")
        free = start + length
        require(free <= LIMIT, "frame", f"number {free} is outside 0..2^63-1")
        numbers += range(start, free)
    return numbers


def put_extra(out: bytearray, record: Record) -> None:
    """Append the fields that this version does not know."""
    known = {"kind", "seq", *record.__slots__}
    require(known.isdisjoint(record.extra), "extra", f"{sorted(known & record.extra.keys())} are fields of their own")
    try:
        data = json.dumps(dict(record.extra), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise SchemaError("extra", f"cannot be written as JSON: {exc}") from None
    require(len(data) <= MAX_EXTRA_BYTES, "extra", f"{len(data)} bytes are more than {MAX_EXTRA_BYTES}")
    put_varint(out, len(data))
    out += data


def read_extra(reader: Reader, kind: str) -> dict[str, Any]:
    """The inverse of `put_extra`; raises SchemaError."""
    extra = parse_json(reader.take(reader.varint(below=MAX_EXTRA_BYTES + 1)), path="extra", limit_bytes=MAX_EXTRA_BYTES)
    require(isinstance(extra, dict) and bool(extra), "extra", "expected fields")
    known = {"kind", "seq", *KINDS[kind].__slots__}
    require(known.isdisjoint(extra), "extra", f"{sorted(known & extra.keys())} are fields of their own")
    return dict(extra)
