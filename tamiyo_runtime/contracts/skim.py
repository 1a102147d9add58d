"""What a collector has to know of a frame, without making an object of every sample in it.

Samples are the bulk of what comes over a fast link, and are stored as they came: columns in a frame. `skim` checks them
as strictly as `wire.decode` does (it refuses the same bytes), but only says which numbers there are and when the
first and the last was taken. Everything else is decoded. `Skim.samples` is a frame of the samples alone, cut out of the
one that came; `wire.decode` reads it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tamiyo_runtime.contracts import sections, wire
from tamiyo_runtime.contracts.columns import LIMIT, Reader
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.records import Batch, Numbered, Sample
from tamiyo_runtime.contracts.rows import CODE_OF_KIND, LAYOUTS, Strings
from tamiyo_runtime.contracts.stamp import CodedStamp, Stamp

Spans = tuple[tuple[int, int], ...]
"""Inclusive ranges, ascending, neither overlapping nor adjacent."""

_LEVEL = 6  # of zlib: half the time of 9 for 1 % more bytes
_NO_STAMP = CodedStamp()
_SAMPLES = CODE_OF_KIND[Sample.KIND]
_T_MS, _CONFIGURATION = 0, 1  # columns of a sample


class Skim(NamedTuple):  # made for every message, and a tuple takes a quarter of a frozen dataclass's time
    """A frame. ``size``: how many records it holds; ``spans``: their numbers; ``created``, ``stamp``: see `Batch`.

    ``samples``: a frame of the ``sample_count`` samples with the numbers ``sample_spans``, the earliest and latest of
    them of ``sample_ms``; empty where there is none. ``records``: all others.
    """

    boot: int
    bundle: str
    created: int
    stamp: Stamp | None
    size: int
    spans: Spans
    records: tuple[Numbered, ...]
    samples: bytes
    sample_count: int
    sample_spans: Spans
    sample_ms: tuple[int, int]


@dataclass(slots=True)
class _Columns:
    """The samples' section."""

    spans: list[tuple[int, int]]
    ms: tuple[int, int]
    section: bytes


def skim(frame: bytes, *, device: str = "") -> Skim:
    """What is in a device's frame from an untrusted source; raises SchemaError as `wire.decode` does.

    Beyond that only for a mixed frame of nearly `wire.MAX_FRAME_BYTES` whose sender packs better than zlib can.
    """
    opened = wire.opened(frame, device, "frame")
    flags, version = opened[0], opened[0] & wire.VERSION_MASK
    has_extra = bool(flags & wire.HAS_EXTRA)
    reader = Reader(wire.body_of(opened))
    boot, bundle, lowest = wire.read_place(reader, flags)
    place = reader.since(0)
    created = reader.varint()
    stamp = CodedStamp.read(reader) if version > 1 else _NO_STAMP
    start = reader.at
    strings = Strings.read(reader, version)
    table = reader.since(start)
    samples: _Columns | None = None
    records: list[Numbered] = []
    count = seen = 0
    kinds = sections.read_count(reader, version)
    if kinds >= sections.SINGLE:
        require(not has_extra, "frame", "extra fields of a record without any")
        records = sections.read_single(reader, kinds, lowest, strings, boot)
        kinds, count = 0, 1
    for _ in range(kinds):
        start = reader.at
        code = reader.varint(below=max(LAYOUTS) + 1)
        require(code in LAYOUTS and code > seen, "frame", f"kind {code} is unknown or out of order")
        seen = code
        if code == _SAMPLES:
            rows, samples = _samples(reader, start, len(strings), lowest, has_extra=has_extra)
            count += rows
        else:
            section = sections.read_section(reader, code, strings, boot, lowest=lowest, has_extra=has_extra)
            records += section
            count += len(section)
        require(count <= sections.MAX_RECORDS, "frame", f"more than {sections.MAX_RECORDS} records")
    reader.done()
    require(count > 0, "frame", "holds no record")
    mine = tuple(samples.spans) if samples else ()
    spans = _together(mine, records) if records else mine
    total = spans[-1][1] + created if created else 0
    require(total < LIMIT, "frame", f"{total} is outside 0..2^63-1")
    alone = b""
    if samples:
        head = place + (b"\x00\x00" if version > 1 else b"\x00") + table  # neither count nor stamp
        alone = _cut(flags, head, samples.section, device) if records else frame
    latest_ms = max(numbered.record.t_ms for numbered in records) if records else 0
    if samples:
        latest_ms = max(latest_ms, samples.ms[1])
    return Skim(
        boot,
        bundle,
        total,
        stamp.decoded(latest_ms),
        count,
        spans,
        tuple(sorted(records, key=lambda numbered: numbered.seq)) if records else (),
        alone,
        count - len(records),
        mine,
        samples.ms if samples else (0, 0),
    )


def skimmed(batch: Batch, *, device: str = "") -> Skim:
    """The same of a batch; raises what `wire.encode` raises."""
    return skim(wire.encode(batch, device=device), device=device)


def _samples(reader: Reader, start: int, strings: int, lowest: int, *, has_extra: bool) -> tuple[int, _Columns]:
    """The section that began at ``start``, checked, and its number of rows."""
    count = reader.varint(below=sections.MAX_RECORDS + 1)
    require(count > 0, "frame", "an empty section")
    spans = _read_spans(reader, count, lowest)
    columns = reader.columns(LAYOUTS[_SAMPLES].width, count)
    last = max(columns[_CONFIGURATION])
    require(last < strings, "frame", f"no string {last} in a table of {strings}")
    if has_extra:
        sections.read_extras(reader, count, Sample.KIND)
    times = columns[_T_MS]
    return count, _Columns(spans, (min(times), max(times)), reader.since(start))


def _read_spans(reader: Reader, count: int, lowest: int) -> list[tuple[int, int]]:
    """The runs of numbers of a section, adjacent ones joined."""
    spans: list[tuple[int, int]] = []
    free, left = lowest, count
    while left:
        first = free + reader.varint()
        length = reader.varint(below=left + 1)
        require(length > 0, "frame", "an empty run")
        left -= length
        if spans and first == free:
            first = spans.pop()[0]
            free += length
        else:
            free = first + length
        require(free <= LIMIT, "frame", f"number {free} is outside 0..2^63-1")
        spans.append((first, free - 1))
    return spans


def _together(samples: Spans, records: Sequence[Numbered]) -> Spans:
    """All numbers of a frame; raises SchemaError when one is given twice."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted([*samples, *((numbered.seq, numbered.seq) for numbered in records)]):
        if joined and first <= joined[-1][1]:
            require(False, "records", f"number {first} is given twice")
        if joined and first == joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _cut(flags: int, head: bytes, section: bytes, device: str) -> bytes:
    """A frame of one section of another: columns, numbers and names stay as they are."""
    body = head + b"\x01" + section
    packed = zlib.compress(body, _LEVEL, -15)
    flags, out = (flags | wire.COMPRESSED, packed) if len(packed) < len(body) else (flags & ~wire.COMPRESSED, body)
    cut = wire.sealed(bytes([flags]) + out, device)
    require(len(cut) <= wire.MAX_FRAME_BYTES, "frame", "its samples alone do not fit one: it was packed too well")
    return cut
