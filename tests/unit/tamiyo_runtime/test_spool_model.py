"""Whatever happens to a spool, in whatever order: what it committed is there, acked, or named by a tombstone."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tamiyo_runtime.ages import bounds_s
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.records import (
    Ack,
    Record,
    Tombstone,
)
from tamiyo_runtime.contracts.stamp import TimeQuality
from tamiyo_runtime.files import folder_in_memory
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.spool import ROW_BYTES, Spool
from tamiyo_runtime.timekeeping import FakeWallClock
from tests.records import decision
from tests.unit.tamiyo_runtime.spooling import (
    DAYS,
    alarm,
    everything,
    fill_up,
    free,
    held,
    long,
    metric,
    numbers,
)


class SpoolModel(RuleBasedStateMachine):
    """Random appends, acks, kills, restarts and floods, against sets in memory."""

    @initialize(bound=st.sampled_from([600, 2000, 30_000, 1 << 20]))
    def open(self, bound: int) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=folder_in_memory())  # a commit waits for no disk
        self.path = Path(self.folder.name) / "spool.db"
        self.bound = bound
        self.full = False
        self.clock = VirtualClock()
        self.wall = FakeWallClock()
        self.spool = self._open()
        self.committed: dict[tuple[int, int], Record] = {}
        self.acked: set[tuple[int, int]] = set()
        self.group: dict[tuple[int, int], Record] = {}
        self.stones: dict[tuple[int, int], Tombstone] = {}

    def _open(self) -> Spool:
        return Spool(
            self.path, limit_bytes=self.bound, clock=self.clock, keep_s=bounds_s(DAYS), machine=self.wall.machine
        )

    def _settle(self) -> None:
        """After anything that commits: what the model held back is durable now."""
        self.committed |= self.group
        self.group = {}

    @rule(kind=st.sampled_from([metric, metric, decision, alarm]), count=st.integers(1, 30))
    def append(self, kind: object, count: int) -> None:
        for _ in range(count):
            record = kind(int(self.clock.now_s() * 1000))  # type: ignore[operator]  # one of three functions
            before = self.spool.commits
            seq = self.spool.append(record)
            assert (self.spool.boot, seq) not in self.committed
            self.group[self.spool.boot, seq] = record
            if self.spool.commits != before:
                self._settle()

    @rule()
    def commit(self) -> None:
        self.spool.commit()
        self._settle()

    @rule(step_s=st.floats(0, 2))
    def tick(self, step_s: float) -> None:
        self.clock.advance(step_s)
        before = self.spool.commits
        self.spool.tick()
        if self.spool.commits != before:
            self._settle()

    @rule(days=st.floats(0, 3), known=st.booleans())
    def grow_old(self, days: float, known: bool) -> None:
        """Time passes; after a look at ages nothing is left that is known to be too old."""
        if known:
            self.spool.place(self.wall.offset_ms, TimeQuality.NTP)
        self.clock.advance(86400.0 * days)
        self.spool.tick(at_once=True)
        self._settle()
        if self.full:  # what cannot be buried stays
            return
        now_ms = self.clock.now_s() * 1000
        for spooled in everything(self.spool):
            bound_s = bounds_s(DAYS)[spooled.key.priority]
            if not isinstance(spooled.record, Tombstone) and days > 0.01:  # ages are looked at once a minute
                assert now_ms - spooled.record.t_ms <= bound_s * 1000 + 1

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        present = numbers(self.spool)
        if not present:
            return
        boot = data.draw(st.sampled_from(sorted({boot for boot, _ in present})))
        seqs = sorted(seq for other, seq in present if other == boot)
        first = data.draw(st.sampled_from(seqs))
        last = data.draw(st.integers(first, seqs[-1] + 3))
        try:
            self.spool.acked(Ack(boot, ((first, last),)))
        except sqlite3.OperationalError:  # the disk is full, and it stays there
            return
        self.acked |= {(boot, seq) for seq in seqs if first <= seq <= last}

    @rule(count=st.integers(0, 60), kind=st.sampled_from([metric, decision]))
    def fill_disk(self, count: int, kind: object) -> None:
        """From now on the file cannot grow: a commit that needs a page puts the spool in memory."""
        self.append(metric, 3)
        self.commit()
        fill_up(self.spool)
        self.full = True
        for _ in range(count):
            record = long(kind(), int(self.clock.now_s() * 1000), 2000)  # type: ignore[operator]  # of two functions
            self.group[self.spool.boot, self.spool.append(record)] = record
        self.commit()

    @rule(wait_s=st.floats(0, 100))
    def free_disk(self, wait_s: float) -> None:
        free(self.spool)
        self.full = False
        self.clock.advance(wait_s)

    @rule()
    def close_and_open(self) -> None:
        free(self.spool)
        self.spool.close()
        self._settle()
        self._reopen()

    @rule()
    def kill(self) -> None:
        """What a process loses when it dies: its memory. The file stays as the last commit left it."""
        if self.spool.trouble is not None:
            self._lose_memory()
        self.spool._release()
        self.group = {}
        self._reopen()

    @rule()
    def end_on_a_full_disk(self) -> None:
        """All that memory held and nobody had is named, and nothing else."""
        fill_up(self.spool)
        lost = {(self.spool.boot, seq) for first, last in self.spool.settle() for seq in range(first, last + 1)}
        self._settle()
        assert lost == (self._lose_memory() if self.spool.trouble is not None else set())
        with contextlib.suppress(TamiyoError):
            self.spool.close()
        self._reopen()

    def _lose_memory(self) -> set[tuple[int, int]]:
        """Take out of the model what is in memory alone; returns the numbers of which nobody has heard."""
        boot, begin = self.spool.boot, self.spool._home._created_before
        pending = {(s.key.boot, s.key.seq): s.record for s in everything(self.spool)}
        told = [stone for stone in pending.values() if isinstance(stone, Tombstone)]
        untold = set(pending) | {(boot, seq) for s in told for seq in range(s.first_seq, s.last_seq + 1)}
        for known in (self.committed, self.stones):
            for place in [place for place in known if place[0] == boot and place[1] >= begin]:
                del known[place]
        return untold

    def _buried(self) -> set[tuple[int, int]]:
        return {(s.boot, seq) for s in self.stones.values() for seq in range(s.first_seq, s.last_seq + 1)}

    def _reopen(self) -> None:
        before = self.spool.boot
        self.full = False
        self.spool = self._open()
        assert self.spool.boot >> 32 == (before >> 32) + 1

    @invariant()
    def nothing_is_lost_in_silence(self) -> None:
        """Every committed record is pending, acked, or named by a tombstone that is itself pending or was acked."""
        pending = {(s.key.boot, s.key.seq): s.record for s in held(self.spool)}
        self.stones |= {place: record for place, record in pending.items() if isinstance(record, Tombstone)}
        buried = self._buried()
        for place, record in self.committed.items():
            assert pending.get(place) == record or place in self.acked or place in buried
        assert buried.isdisjoint(set(pending) - self.acked)
        accounts = self.spool.accounts()
        assert accounts.created == accounts.acked + accounts.pending + sum(accounts.dropped.values())
        assert accounts.pending == len(pending)
        assert sum(accounts.dropped.values()) == len(buried)

    @invariant()
    def the_bound_holds_but_for_tombstones(self) -> None:
        sizes = sum(s.size_bytes + ROW_BYTES for s in everything(self.spool) if not isinstance(s.record, Tombstone))
        assert sizes <= self.bound

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            free(self.spool)
            self.spool.close()
            self.folder.cleanup()


TestSpoolModel = SpoolModel.TestCase


TestSpoolModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
