"""What the deliveries of one boot change in the store, in the transaction of its caller.

Numbers that are covered already came before and change nothing. A frame of which all is new is kept as it came; of one
that was sent again, split differently, only what is new is kept. So every record is in the store once, and `coverage`
says of every number whether it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from collector.arrivals import Delivery
from collector.coverage import Coverage, Span, size
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.columns import Reader, put_varint
from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.records import Numbered, Tombstone

LARGEST = (1 << 63) - 1
CHUNK_SAMPLES = 4096
"""A row of `samples` holds about so many at most, so that a reader never decodes much more than it asked for."""


@dataclass(slots=True)
class _Chunk:
    """Samples on their way to a row of `samples`: frames one after the other, each behind its length."""

    first: int
    last: int
    count: int
    first_ms: int
    last_ms: int
    received_s: float
    frames: bytearray


def frames_of(chunk: bytes) -> Iterator[bytes]:
    """The frames in a row of `samples`."""
    reader = Reader(chunk)
    while reader.at < len(chunk):
        yield reader.take(reader.varint(below=wire.MAX_FRAME_BYTES + 1))


def deliver(db: sqlite3.Connection, device: str, boot: int, deliveries: Sequence[Delivery]) -> int:
    """Store what is new of these frames of one boot; returns how many records that were."""
    lowest = min(delivery.frame.spans[0][0] for delivery in deliveries)
    highest = max(delivery.frame.spans[-1][1] for delivery in deliveries)
    before = _covered(db, device, boot, lowest, highest)
    coverage = Coverage(before)
    chunks: list[_Chunk] = []
    records: list[tuple[Numbered, float]] = []
    total = 0
    for delivery in deliveries:
        frame = delivery.frame
        fresh = [part for first, last in frame.spans for part in coverage.add(first, last)]
        new = size(fresh)
        total += new
        if new == frame.size:
            records += [(numbered, delivery.received_s) for numbered in frame.records]
            if frame.samples:
                first, last = frame.sample_spans[0][0], frame.sample_spans[-1][1]
                size_ms = frame.sample_count, *frame.sample_ms
                _keep(chunks, _Chunk(first, last, *size_ms, delivery.received_s, _framed(frame.samples)))
        elif new:
            records += [(one, delivery.received_s) for one in frame.records if _within(one.seq, fresh)]
            _keep_part(chunks, device, delivery, fresh)
    _insert(db, device, boot, chunks, records)
    _cover(db, device, boot, before, coverage.spans)
    return total


def _framed(frame: bytes) -> bytearray:
    out = bytearray()
    put_varint(out, len(frame))
    return out + frame


def _keep(chunks: list[_Chunk], part: _Chunk) -> None:
    """Add it to the last chunk, or begin another."""
    if not chunks or chunks[-1].count >= CHUNK_SAMPLES:
        chunks.append(part)
        return
    chunk = chunks[-1]
    chunk.first, chunk.last = min(chunk.first, part.first), max(chunk.last, part.last)
    chunk.first_ms, chunk.last_ms = min(chunk.first_ms, part.first_ms), max(chunk.last_ms, part.last_ms)
    chunk.count += part.count
    chunk.frames += part.frames


def _keep_part(chunks: list[_Chunk], device: str, delivery: Delivery, fresh: Sequence[Span]) -> None:
    """Keep those samples of a frame that are new, in frames of their own."""
    frame = delivery.frame
    if not any(_overlaps(first, last, fresh) for first, last in frame.sample_spans):
        return
    samples = [one for one in wire.decode(frame.samples, device=device).records if _within(one.seq, fresh)]
    while samples:
        packed, count = wire.pack(frame.boot, frame.bundle, samples, wire.MAX_FRAME_BYTES, device=device)
        part, samples = samples[:count], samples[count:]
        times = [one.record.t_ms for one in part]
        seqs_ms = part[0].seq, part[-1].seq, count, min(times), max(times)
        _keep(chunks, _Chunk(*seqs_ms, delivery.received_s, _framed(packed)))


def _within(seq: int, spans: Iterable[Span]) -> bool:
    return any(first <= seq <= last for first, last in spans)


def _overlaps(first: int, last: int, spans: Iterable[Span]) -> bool:
    return any(first <= end and start <= last for start, end in spans)


def _insert(
    db: sqlite3.Connection, device: str, boot: int, chunks: list[_Chunk], records: list[tuple[Numbered, float]]
) -> None:
    db.executemany(
        "INSERT INTO samples (device, boot, first_seq, last_seq, count, first_ms, last_ms, received_s, frames)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(device, boot, c.first, c.last, c.count, c.first_ms, c.last_ms, c.received_s, c.frames) for c in chunks],
    )
    if not records:
        return
    db.executemany(
        "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (device, boot, one.seq, one.record.KIND, one.record.t_ms, at_s, _json(dump(one.record)))
            for one, at_s in records
        ],
    )
    db.executemany(
        "INSERT OR IGNORE INTO losses VALUES (?, ?, ?, ?, ?)",
        [
            (device, stone.boot, stone.first_seq, stone.last_seq, stone.reason.value)
            for stone in (one.record for one, _ in records)
            if isinstance(stone, Tombstone)
        ],
    )


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))


def _covered(db: sqlite3.Connection, device: str, boot: int, lowest: int, highest: int) -> list[Span]:
    """The stored ranges that overlap ``lowest..highest`` or are next to it."""
    return db.execute(
        "SELECT first_seq, last_seq FROM coverage WHERE device = ?1 AND boot = ?2 AND first_seq <= ?4 AND first_seq >="
        " COALESCE((SELECT MAX(first_seq) FROM coverage WHERE device = ?1 AND boot = ?2 AND first_seq <= ?3), 0)"
        " ORDER BY first_seq",
        (device, boot, lowest, min(highest + 1, LARGEST)),
    ).fetchall()


def _cover(db: sqlite3.Connection, device: str, boot: int, before: list[Span], after: list[Span]) -> None:
    """Replace the ranges that changed."""
    gone = {first for first, _ in before} - {first for first, _ in after}
    if gone:
        db.executemany(
            "DELETE FROM coverage WHERE device = ? AND boot = ? AND first_seq = ?",
            [(device, boot, first) for first in gone],
        )
    known = set(before)
    changed = [(device, boot, *span) for span in after if span not in known]
    if changed:
        db.executemany("INSERT OR REPLACE INTO coverage VALUES (?, ?, ?, ?)", changed)
