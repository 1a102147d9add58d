"""Reading records back in order of device, boot and number, page by page.

Windows, decisions, events and tombstones are rows. Samples are frames in chunks whose numbers may interleave, because
frames overtake one another; a heap puts them in order and holds no more than what overlaps. Files of version 1 hold
samples as rows, too. A `Page` runs a query with whatever lock the store holds, so no lock is held between two pages.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collector.clocks import Fix, Sightings, TimeSource
from collector.deliver import LARGEST, frames_of
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError
from tamiyo_runtime.contracts.records import Record, Sample, record_from_dict

Page = Callable[[str, Sequence[Any]], list[Any]]
_ROWS, _CHUNKS = 1000, 16


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record and where it comes from. ``received_s``: wall-clock time of its first arrival, Unix seconds.

    ``fix``: how its boot's clock stood to the wall clock, as far as known today.
    """

    device: str
    boot: int
    seq: int
    received_s: float
    record: Record
    fix: Fix | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """What names it for ever, and orders it."""
        return self.device, self.boot, self.seq

    @property
    def at_s(self) -> float:
        """When it was made, Unix seconds, as well as is known: see `time_source`."""
        return self.received_s if self.fix is None else (self.fix.offset_ms + self.record.t_ms) / 1000

    @property
    def time_source(self) -> TimeSource:
        """What `at_s` rests on."""
        return TimeSource.ARRIVAL if self.fix is None else self.fix.source


Fixes = Mapping[tuple[str, int], Fix]


def read_fixes(page: Page) -> Fixes:
    """How the clock of each boot of each device stands to the wall clock, where that is known."""
    rows = page("SELECT device, boot, least_ms, ntp_ms, rtc_ms FROM clocks", ())
    return {(device, boot): fix for device, boot, *known in rows if (fix := Sightings(*known).fix()) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records: of one device, made at ``since_s`` or later and before ``until_s``, Unix seconds; None: of all."""

    device: str | None = None
    since_s: float | None = None
    until_s: float | None = None

    def within(self, first_s: float, last_s: float) -> bool:
        """Whether something made between these two moments can be meant."""
        return (self.since_s is None or last_s >= self.since_s) and (self.until_s is None or first_s < self.until_s)


ALL = Wanted()


def read(page: Page, kind: str | None, wanted: Wanted = ALL) -> Iterator[StoredRecord]:
    """Records of one kind, or of all."""
    fixes = read_fixes(page)
    found = read_rows(page, kind, fixes, wanted.device)
    if kind in (None, Sample.KIND):
        found = heapq.merge(found, read_samples(page, fixes, wanted), key=lambda stored: stored.place)
    return (stored for stored in found if wanted.within(stored.at_s, stored.at_s))


def read_rows(page: Page, kind: str | None, fixes: Fixes, device: str | None = None) -> Iterator[StoredRecord]:
    """Records that are rows."""
    place: tuple[str, int, int] = ("", -1, -1)
    while True:
        rows = page(
            "SELECT device, boot, seq, kind, received_s, body FROM records WHERE (?1 IS NULL OR kind = ?1)"
            " AND (?2 IS NULL OR device = ?2) AND (device, boot, seq) > (?3, ?4, ?5)"
            " ORDER BY device, boot, seq LIMIT ?6",
            (kind, device, *place, _ROWS),
        )
        for name, boot, seq, kind_of_row, received_s, body in rows:
            path = f"{name}/{boot}/{seq}"
            record = record_from_dict({"kind": kind_of_row, **json.loads(body)}, path=path)
            yield StoredRecord(name, boot, seq, received_s, record, fixes.get((name, boot)))
        if len(rows) < _ROWS:
            return
        place = rows[-1][:3]


def read_samples(page: Page, fixes: Fixes, wanted: Wanted = ALL) -> Iterator[StoredRecord]:
    """Samples that are frames, without chunks of which none is wanted. Raises IntegrityError when one is damaged."""
    waiting: list[tuple[tuple[str, int, int], int, StoredRecord]] = []
    for name, boot, first, identity, received_s, frames, *span_ms in _chunks(page, wanted.device):
        fix = fixes.get((name, boot))
        first_s, last_s = ((fix.offset_ms + ms) / 1000 if fix else received_s for ms in span_ms)
        if not wanted.within(first_s, last_s):
            continue
        while waiting and waiting[0][0] < (name, boot, first):
            yield heapq.heappop(waiting)[2]
        try:
            batches = [wire.decode(frame, device=name) for frame in frames_of(frames)]
        except SchemaError as exc:
            raise IntegrityError(
                f"samples from {first} on of {name}, boot {boot}, are damaged: {exc.message}",
                hint=f"row {identity} of table samples",
            ) from exc
        for batch in batches:
            for numbered in batch.records:
                stored = StoredRecord(name, boot, numbered.seq, received_s, numbered.record, fix)
                heapq.heappush(waiting, (stored.place, identity, stored))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _chunks(page: Page, device: str | None) -> Iterator[tuple[str, int, int, int, float, bytes, int, int]]:
    place: tuple[str, int, int, int] = ("", -1, -1, LARGEST)
    while True:
        rows = page(
            "SELECT device, boot, first_seq, id, received_s, frames, first_ms, last_ms FROM samples"
            " WHERE (?1 IS NULL OR device = ?1)"
            " AND (device, boot, first_seq, id) > (?2, ?3, ?4, ?5) ORDER BY device, boot, first_seq, id LIMIT ?6",
            (device, *place, _CHUNKS),
        )
        yield from rows
        if len(rows) < _CHUNKS:
            return
        place = rows[-1][:4]
