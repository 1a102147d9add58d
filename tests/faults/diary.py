"""What a device recorded, written down beside the spool, and whether a store holds exactly that.

A line goes into the diary before its record goes to the spool, in one write, so that a killed process leaves at most
its last line torn; another line follows each commit. The diary is the witness, so it never reads what the spool holds.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collector.store import Store
from tamiyo_runtime.contracts.records import KINDS, Record, Tombstone, record_to_dict
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.telemetry import Telemetry


def digest(record: Record) -> str:
    """Of all it says; the order of keys says nothing."""
    return f"{zlib.crc32(json.dumps(record_to_dict(record), sort_keys=True).encode()):08x}"


class Diary:
    """Watches a spool."""

    def __init__(self, path: Path, spool: Spool) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._spool = spool
        self._append = spool.append
        self._commits = spool.commits
        spool.append = self.append  # type: ignore[method-assign]  # the runtime's own calls are watched

    @classmethod
    def of(cls, path: Path, telemetry: Telemetry) -> Diary:
        return cls(path, telemetry._spool)

    def append(self, record: Record) -> int:
        spool = self._spool
        self._write(f"A {spool.boot} {spool._group.next_seq} {digest(record)}\n")
        seq = self._append(record)
        self.note()
        return seq

    def note(self) -> None:
        """Write down what is durable by now."""
        if self._spool.commits != self._commits:
            self._commits = self._spool.commits
            self._write(f"C {self._spool.boot} {self._spool.created(self._spool.boot)}\n")

    def acking(self, boot: int, ranges: Sequence[tuple[int, int]]) -> None:
        """These may be forgotten from now on."""
        self._write("".join(f"K {boot} {first} {last}\n" for first, last in ranges))

    def _write(self, line: str) -> None:
        os.write(self._file, line.encode())


@dataclass(slots=True)
class Recorded:
    """A diary read back: digests by place, and how many of each boot were durable, which were acked."""

    digests: dict[tuple[int, int], str] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    acked: set[tuple[int, int]] = field(default_factory=set)

    def owed(self) -> set[tuple[int, int]]:
        """Places of the records that were durable and that nobody has acked."""
        durable = {(boot, seq) for boot, seq in self.digests if seq < self.committed.get(boot, 0)}
        return durable - self.acked


def read(path: Path) -> Recorded:
    return parse(path.read_text())


def parse(text: str) -> Recorded:
    recorded = Recorded()
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            continue  # torn by a kill
        kind, boot, *rest = line.split()
        if kind == "A":
            recorded.digests[int(boot), int(rest[0])] = rest[1]
        elif kind == "K":
            recorded.acked |= {(int(boot), seq) for seq in range(int(rest[0]), int(rest[1]) + 1)}
        else:
            recorded.committed[int(boot)] = max(int(rest[0]), recorded.committed.get(int(boot), 0))
    return recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a store holds of a diary. All of it was checked: see `judge`."""

    boots: int
    committed: int
    stored: int
    lost: Mapping[str, int]
    repeats: int
    quarantined: int


def judge(store: Store, recorded: Recorded, *, device: str = "board-1") -> Verdict:
    """The invariant of every campaign; raises AssertionError.

    Each boot's numbers 0..sent-1 are each stored or in an accounted range, none twice; at least what was durable was
    sent; each stored record is, bit for bit, the one that was recorded under its number.
    """
    rows = [stored for kind in KINDS.values() for stored in store.records(kind)]
    assert {stored.device for stored in rows} <= {device}, "a device that nobody is"
    places = [(stored.boot, stored.seq) for stored in rows]
    assert len(set(places)) == len(places)
    ledger = {entry.boot: entry for entry in store.ledger() if entry.device == device}
    assert [entry.device for entry in store.ledger() if entry.device != device] == [], "a device that nobody is"
    there: dict[int, set[int]] = {boot: set() for boot in ledger}
    buried: dict[int, set[int]] = {boot: set() for boot in ledger}
    for stored in rows:
        there[stored.boot].add(stored.seq)
        if isinstance(stored.record, Tombstone):  # the spool's own: no diary knows of it
            buried[stored.record.boot] |= set(range(stored.record.first_seq, stored.record.last_seq + 1))
        else:
            assert recorded.digests[stored.boot, stored.seq] == digest(stored.record), stored
    for boot, entry in ledger.items():
        assert entry.balanced, entry
        assert there[boot] | buried[boot] == set(range(entry.sent)), entry
        assert entry.stored == len(there[boot])
    for boot, created in recorded.committed.items():
        assert boot in ledger, f"boot {boot} made {created} records durable and nothing of it is known"
        assert ledger[boot].sent >= created, (ledger[boot], created)
    lost: Counter[str] = Counter()
    for entry in ledger.values():
        lost.update(entry.lost)
    counters = store.counters()
    assert counters["records"] == len(rows)
    return Verdict(
        boots=len(ledger),
        committed=sum(recorded.committed.values()),
        stored=len(rows),
        lost=dict(lost),
        repeats=counters["duplicates"],
        quarantined=counters["quarantined"],
    )
