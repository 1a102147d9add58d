"""The spool keeps what it committed, forgets only what was acked, and never loses in silence."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tamiyo_runtime.ages import bounds_s
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaVersionError, TamiyoError
from tamiyo_runtime.contracts.records import (
    Ack,
    Event,
    EventRecord,
    LossReason,
    Priority,
    Record,
    Sample,
    Tombstone,
)
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.reserve import FLOOR_BYTES, Space
from tamiyo_runtime.spool import ROW_BYTES, Key, Spool, Spooled, boot_name
from tamiyo_runtime.spool_rows import Rows
from tamiyo_runtime.timekeeping import FakeWallClock
from tests.records import decision

DAYS = 2.0


def metric(t_ms: int = 0) -> Sample:
    return Sample(t_ms=t_ms, configuration="c0", answer=1, confidence_permille=9, latency_us=5, energy_uj=5)


def alarm(t_ms: int = 0) -> EventRecord:
    return EventRecord(t_ms=t_ms, event=Event.MODE, detail="safe")


def everything(spool: Spool) -> list[Spooled]:
    return [spooled for priority in Priority for spooled in spool.pending(priority, limit=10**6)]


def held(spool: Spool) -> list[Spooled]:
    """In memory and in the file."""
    return [
        spooled
        for rows in spool._home._both()
        for priority in Priority
        for spooled in rows.page(priority, None, -1, newest=False)[0]
    ]


def numbers(spool: Spool) -> list[tuple[int, int]]:
    return sorted((spooled.key.boot, spooled.key.seq) for spooled in everything(spool))


class SpoolModel(RuleBasedStateMachine):
    """Random appends, acks, kills, restarts and floods, against sets in memory."""

    @initialize(bound=st.sampled_from([600, 2000, 30_000, 1 << 20]))
    def open(self, bound: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
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


def test_numbers_are_dense_and_boots_never_repeat(tmp_path: Path) -> None:
    boots = []
    for _ in range(3):
        with Spool(tmp_path / "s.db") as spool:
            assert [spool.append(metric()) for _ in range(45)] == list(range(45))
            boots.append(spool.boot)
    assert [boot >> 32 for boot in boots] == [1, 2, 3]
    with Spool(tmp_path / "other.db") as other:
        assert other.boot not in boots
    assert boot_name(3 << 32 | 0x0A0B0C0D) == "3.0a0b0c0d"


def test_a_disk_that_is_copied_or_put_back_to_an_earlier_day_never_reuses_a_boot(tmp_path: Path) -> None:
    """A number used twice would look like a repeat to the collector, which would drop a record in silence."""
    with Spool(tmp_path / "s.db"):
        pass
    shutil.copy(tmp_path / "s.db", tmp_path / "copy.db")
    with Spool(tmp_path / "s.db") as original, Spool(tmp_path / "copy.db") as copy:
        assert original.boot >> 32 == copy.boot >> 32 == 2
        assert original.boot != copy.boot


def test_a_disk_that_stays_full_to_the_end_says_how_much_is_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", group_records=100)
    fill_up(spool)
    for t_ms in range(90):
        spool.append(replace(metric(t_ms), extra={"x": "y" * 200}))
    with pytest.raises(TamiyoError, match=r"90 records are lost.*full"):
        spool.close()
    with Spool(tmp_path / "s.db") as again:
        assert everything(again) == []


def fill_up(spool: Spool) -> None:
    """Let the disk be full, to SQLite's knowledge."""
    file = spool._home._file
    assert file is not None
    file.db.execute(f"PRAGMA max_page_count = {file.one('PRAGMA page_count')}")


def free(spool: Spool) -> None:
    assert spool._home._file is not None
    spool._home._file.db.execute("PRAGMA max_page_count = 1000000")


def test_earlier_boots_come_first_within_a_priority(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        first = spool.boot
        spool.append(metric(1))
    with Spool(tmp_path / "s.db") as spool:
        spool.append(metric(2))
        spool.append(alarm(3))
        assert [s.key for s in everything(spool)] == [
            Key(Priority.ALARM, spool.boot, 1),
            Key(Priority.RAW, first, 0),
            Key(Priority.RAW, spool.boot, 0),
        ]


def test_pending_goes_on_behind_a_key(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", group_records=1) as spool:
        for t_ms in range(5):
            spool.append(metric(t_ms))
        first = spool.pending(Priority.RAW, limit=2)
        rest = spool.pending(Priority.RAW, after=first[-1].key)
        assert [s.key.seq for s in first + rest] == [0, 1, 2, 3, 4]


def test_a_group_is_committed_by_count_by_age_and_for_an_alarm(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", group_records=3, group_s=1.0, clock=clock) as spool:
        for _ in range(2):
            spool.append(metric())
        assert not everything(spool)
        spool.append(metric())
        assert len(everything(spool)) == 3
        spool.append(metric())
        clock.advance(0.9)
        spool.tick()
        assert len(everything(spool)) == 3
        clock.advance(0.2)
        spool.tick()
        assert len(everything(spool)) == 4
        spool.append(metric())
        spool.append(alarm())
        assert len(everything(spool)) == 6


def test_metrics_are_dropped_before_decisions_and_the_oldest_first(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", limit_bytes=6000) as spool:
        for t_ms in range(40):
            spool.append(decision(t_ms))
        for t_ms in range(400):
            spool.append(metric(t_ms))
        spool.commit()
        left = everything(spool)
        kept = [s.record.t_ms for s in left if isinstance(s.record, Sample)]
        assert len([s for s in left if s.key.priority is Priority.EVENT]) == 40
        assert kept == list(range(kept[0], 400)) and kept[0] > 200
        stones = [s.record for s in left if isinstance(s.record, Tombstone)]
        assert {stone.reason for stone in stones} == {LossReason.SPOOL_FULL}
        assert spool.accounts().dropped == {LossReason.SPOOL_FULL: sum(s.last_seq - s.first_seq + 1 for s in stones)}


def test_neighbouring_losses_share_a_tombstone_until_it_has_been_handed_out(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", limit_bytes=6000) as spool:
        for t_ms in range(1000):
            spool.append(metric(t_ms))
        before = [s.record for s in spool.pending(Priority.RAW) if isinstance(s.record, Tombstone)]
        assert len(before) < 15  # of some fifty drops; one cannot reach across the number of a tombstone
        for t_ms in range(200):
            spool.append(metric(t_ms))
        after = [s.record for s in spool.pending(Priority.RAW) if isinstance(s.record, Tombstone)]
        assert after[: len(before)] == before
        assert len(after) > len(before)


def test_news_of_losses_does_not_crowd_out_the_records(tmp_path: Path) -> None:
    """Metrics dropped from between decisions leave a tombstone each, until the decisions must go too."""
    bound = 40_000
    with Spool(tmp_path / "s.db", limit_bytes=bound) as spool:
        for t_ms in range(6000):
            spool.append(decision(t_ms) if t_ms % 2 else metric(t_ms))
            assert spool.pending_bytes < 1.5 * bound
        spool.commit()
        stones = [s.record for s in everything(spool) if isinstance(s.record, Tombstone)]
        assert len(spool.pending(Priority.EVENT)) > 200
        accounts = spool.accounts()
        assert accounts.created == accounts.pending + accounts.dropped[LossReason.SPOOL_FULL]
        buried = [seq for stone in stones for seq in range(stone.first_seq, stone.last_seq + 1)]
        assert sorted(buried + [s.key.seq for s in everything(spool)]) == list(range(accounts.created))


def test_what_is_too_old_goes_with_a_reason_and_each_class_in_its_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", clock=clock, keep_s=bounds_s(DAYS)) as spool:
        for t_ms in range(40):  # of all classes, in turn
            spool.append((metric, decision, alarm)[t_ms % 3](t_ms))
        spool.commit()

        def after(days: float) -> dict[Priority, int]:
            clock.sleep_until(86400.0 * days)
            spool.tick()
            left = [s.key.priority for s in everything(spool) if not isinstance(s.record, Tombstone)]
            accounts = spool.accounts()
            assert accounts.created == accounts.pending + accounts.dropped.get(LossReason.EXPIRED, 0)
            return {priority: left.count(priority) for priority in Priority if priority in left}

        assert after(0.4) == {Priority.ALARM: 13, Priority.EVENT: 13, Priority.RAW: 14}
        assert after(0.6) == {Priority.ALARM: 13, Priority.EVENT: 13}
        assert after(2.1) == {Priority.ALARM: 13}
        assert after(6.1) == {}
        stones = [s for s in everything(spool) if isinstance(s.record, Tombstone)]
        assert {s.record.reason for s in stones} == {LossReason.EXPIRED}  # type: ignore[union-attr]  # tombstones
        assert {s.key.priority for s in stones[-14:]} == {Priority.RAW}  # of samples alone: they go with samples


def test_neighbours_of_different_classes_that_are_too_old_share_a_tombstone(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", clock=clock, keep_s=bounds_s(DAYS)) as spool:
        for t_ms in range(40):
            spool.append((metric, decision)[t_ms % 2](t_ms))
        clock.advance(86400.0 * 3)
        spool.tick(at_once=True)
        (stone,) = everything(spool)
        assert stone.record == Tombstone(
            t_ms=int(clock.now_s() * 1000), boot=spool.boot, first_seq=0, last_seq=39, reason=LossReason.EXPIRED
        )
        assert stone.key.priority is Priority.ALARM


@pytest.mark.parametrize(
    ("machine", "first", "then", "expired"),
    [
        ("run-1", None, None, True),  # the machine stayed on: one clock
        ("run-2", None, None, False),  # nobody knows how long it was off
        ("run-2", TimeQuality.NTP, TimeQuality.NTP, True),  # both times a network held the wall clock
        ("run-2", TimeQuality.NTP, TimeQuality.RTC, False),  # a chip is not believed
    ],
)
def test_across_boots_an_age_is_what_is_known_of_it(
    tmp_path: Path, machine: str, first: TimeQuality | None, then: TimeQuality | None, expired: bool
) -> None:
    day_ms = 86_400_000
    clock = VirtualClock(1000.0)
    options = {"clock": clock, "keep_s": bounds_s(DAYS)}
    with Spool(tmp_path / "s.db", machine="run-1", **options) as spool:  # type: ignore[arg-type]  # passed through
        if first:
            spool.place(0, first)
        spool.append(decision(1_000_000))
    clock.advance(3 * 86400.0)  # off; if the machine was started anew, its clock begins again
    if machine != "run-1":
        clock = VirtualClock(5.0)
        options["clock"] = clock
    with Spool(tmp_path / "s.db", machine=machine, **options) as spool:  # type: ignore[arg-type]  # passed through
        if then:
            spool.place(3 * day_ms + 1_000_000 - 5000, then)
        spool.tick()
        assert (LossReason.EXPIRED in spool.accounts().dropped) is expired


def test_what_a_boot_tells_of_its_time_outlives_it_where_that_helps(tmp_path: Path) -> None:
    clock = VirtualClock(50.0)
    with Spool(tmp_path / "s.db", machine="run-1", clock=clock) as spool:
        spool.place(7000, TimeQuality.RTC)
        spool.append(metric())
        first = spool.boot
        assert spool.stamp(first, 60.0) == Stamp(sent_ms=60_000, offset_ms=7000, quality=TimeQuality.RTC)
    with Spool(tmp_path / "s.db", machine="run-1", clock=clock) as spool:  # started again: the same clock goes on
        assert spool.stamp(first, 70.0) == Stamp(sent_ms=70_000, offset_ms=7000, quality=TimeQuality.RTC)
    with Spool(tmp_path / "s.db", machine="run-2", clock=VirtualClock()) as spool:  # the machine was off
        assert spool.stamp(first, 1.0) == Stamp(sent_ms=None, offset_ms=7000, quality=TimeQuality.RTC)
        assert spool.stamp(spool.boot, 1.0) == Stamp(sent_ms=1000)
        assert spool.stamp(12345, 1.0) == Stamp()


def test_single_samples_get_no_more_than_half_of_the_spool(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", limit_bytes=20_000) as spool:
        for t_ms in range(2000):
            spool.append(metric(t_ms))
        spool.commit()
        assert 0.3 * 20_000 < spool.waiting_bytes(Priority.RAW) <= 0.5 * 20_000
        assert not spool.pending(Priority.ALARM)  # news of lost samples waits with the samples
        accounts = spool.accounts()
        assert accounts.created == accounts.pending + accounts.dropped[LossReason.SPOOL_FULL]


def test_the_newest_can_be_asked_for_first(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        spool.append(alarm(1))
        first = spool.boot
    with Spool(tmp_path / "s.db") as spool:
        for t_ms in (2, 3):
            spool.append(alarm(t_ms))
        found = spool.pending(Priority.ALARM, newest=True)
        assert [(s.key.boot, s.key.seq) for s in found] == [(spool.boot, 1), (spool.boot, 0), (first, 0)]
        assert spool.pending(Priority.ALARM, newest=True, after=found[0].key, limit=1) == found[1:2]


def damage(path: Path, seq: int, body: bytes) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute("UPDATE records SET body = ? WHERE seq = ?", (body, seq)).rowcount == 1


@pytest.mark.parametrize("body", [b"", b"\x02", b"\x02\xff\x00", b"\x00" * 20])
def test_what_the_disk_has_damaged_is_given_up_and_accounted_for(tmp_path: Path, body: bytes) -> None:
    with Spool(tmp_path / "s.db") as spool:
        for t_ms in range(5):
            spool.append(decision(t_ms))
        boot = spool.boot
    damage(tmp_path / "s.db", 2, body)
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", keep_s={Priority.EVENT: 1e9}, clock=clock) as spool:
        spool.tick()  # looks at ages
        assert [one.key.seq for one in spool.pending(Priority.EVENT) if one.key.boot == boot] == [0, 1, 3, 4]
        (stone,) = [one.record for one in spool.pending(Priority.ALARM)]
        assert isinstance(stone, Tombstone)
        assert (stone.boot, stone.first_seq, stone.last_seq, stone.reason) == (boot, 2, 2, LossReason.DAMAGED)
        accounts = spool.accounts()
        assert accounts.dropped == {LossReason.DAMAGED: 1}
        assert accounts.created == accounts.acked + accounts.pending + 1


def test_records_of_a_later_version_are_left_to_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        spool.append(decision())
    damage(tmp_path / "s.db", 0, bytes([wire.VERSION + 1, 2, 0]))
    with Spool(tmp_path / "s.db") as spool:
        with pytest.raises(SchemaVersionError, match="newer"):
            spool.pending(Priority.EVENT)
        assert spool.accounts().dropped == {}


def test_an_acked_record_is_not_buried(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", group_records=1) as spool:
        spool.append(metric())
        key = everything(spool)[0].key
        spool.acked(Ack(spool.boot, ((0, 0),)))
        spool.drop([key], LossReason.TOO_LARGE)
        assert everything(spool) == []
        assert spool.accounts().dropped == {}


def test_the_file_stays_near_its_bound(tmp_path: Path) -> None:
    path, bound = tmp_path / "s.db", 200_000
    with Spool(path, limit_bytes=bound, group_records=100) as spool:
        for t_ms in range(30_000):
            spool.append(metric(t_ms))
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert size <= 2 * bound + (2 << 20) + (1 << 19)  # pages, a log of 2 MiB, and what one group adds to it


def test_a_second_runtime_is_told_whose_spool_that_is(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db"), pytest.raises(InputError, match="cannot be used") as caught:
        Spool(tmp_path / "s.db")
    assert "its own spool" in str(caught.value.hint)


def test_a_file_that_is_no_spool_is_an_integrity_error(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityError, match="damaged"):
        Spool(tmp_path / "s.db")


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE records (mine)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(InputError, match="something else"):
        Spool(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        Spool(tmp_path / "file" / "s.db")


def long(record: Record, number: int = 0, size: int = 200) -> Record:
    """Of so many bytes and more, so that a page is soon full."""
    return replace(record, t_ms=number, extra={"x": "y" * size})  # type: ignore[type-var, call-arg]  # every kind has both


def test_on_a_full_disk_the_spool_is_in_memory_and_back_in_its_file_when_there_is_room(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", clock=clock) as spool:
        spool.append(alarm())
        fill_up(spool)
        for number in range(99):
            spool.append(long(metric(), number))
        spool.commit()
        assert spool.trouble is not None and "full" in spool.trouble
        assert [s.key.seq for s in everything(spool)] == list(range(1, 100))  # what can be sent meanwhile
        assert spool.created(spool.boot) == 100
        spool.acked(Ack(spool.boot, ((1, 50),)))
        accounts = spool.accounts()
        assert (accounts.created, accounts.acked, accounts.pending) == (100, 50, 50)
        free(spool)
        clock.advance(2.0)
        spool.tick()
        assert spool.trouble is None
        assert [s.key.seq for s in everything(spool)] == [0, *range(51, 100)]
        assert spool.accounts() == accounts
    with Spool(tmp_path / "s.db") as again:
        assert [s.key.seq for s in everything(again)] == [0, *range(51, 100)]


def test_memory_has_its_bound_and_what_that_costs_is_accounted_for(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", clock=clock, memory_bytes=100_000) as spool:
        spool.append(metric(0))
        spool.commit()
        fill_up(spool)
        decisions, alarms = [], []
        for number in range(1, 6_000):
            if number % 50 == 0:
                decisions.append(spool.append(long(decision(), number)))
            elif number % 2000 == 1:
                alarms.append(spool.append(alarm(number)))
            else:
                spool.append(long(metric(), number))
            clock.advance(0.01)
            assert spool.pending_bytes < 150_000
        assert spool.trouble is not None
        free(spool)
        clock.advance(100.0)
        spool.tick()
        assert spool.trouble is None
        left = everything(spool)
        assert set(decisions) | set(alarms) <= {s.key.seq for s in left}
        stones = [s.record for s in left if isinstance(s.record, Tombstone)]
        buried = [seq for stone in stones for seq in range(stone.first_seq, stone.last_seq + 1)]
        accounts = spool.accounts()
        assert accounts.created == accounts.pending + accounts.dropped[LossReason.SPOOL_FULL]
        assert sorted(buried + [s.key.seq for s in left]) == list(range(accounts.created))
        kept = [s.record.t_ms for s in left if s.key.priority is Priority.RAW]
        assert 5_999 in kept and len(kept) > 100  # the latest


def test_what_is_left_in_memory_at_the_end_is_named_number_by_number(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", memory_bytes=20_000, group_records=1000)
    fill_up(spool)
    for number in range(2000):
        spool.append(long(metric(), number))
    spool.commit()
    first = next(s.key.seq for s in everything(spool) if isinstance(s.record, Sample))
    last = everything(spool)[-1].key.seq
    assert first > 1000  # the others were dropped, and nobody was told
    spool.acked(Ack(spool.boot, ((first, first + 4),)))
    assert spool.settle() == ((0, first - 1), (first + 5, last))
    with pytest.raises(TamiyoError, match="are lost"):
        spool.close()


def test_a_disk_that_is_full_from_the_start_puts_the_spool_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a file of earlier days, which the spool finds again when there is room."""
    clock, path = VirtualClock(), tmp_path / "s.db"
    with Spool(path, clock=clock) as spool:
        spool.append(decision(1))
        earlier = spool.boot
    begin = Rows.begin

    def full(rows: Rows, *values: object) -> None:
        if rows.one("SELECT COUNT(*) FROM pragma_database_list WHERE file != ''"):
            fill = sqlite3.OperationalError("database or disk is full")
            fill.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise fill
        begin(rows, *values)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Rows, "begin", full)
    with Spool(path, clock=clock) as spool:
        assert spool.trouble is not None
        assert spool.boot >> 32 == (earlier >> 32) + 1  # a full disk can be read
        assert spool.append(decision(2)) == 0
        spool.commit()
        assert [s.key for s in everything(spool)] == [Key(Priority.EVENT, spool.boot, 0)]
        clock.advance(2.0)
        spool.tick()
        assert spool.trouble is None
        assert [s.key for s in everything(spool)] == [
            Key(Priority.EVENT, earlier, 0),
            Key(Priority.EVENT, spool.boot, 0),
        ]


def test_the_spool_does_not_grow_while_less_than_the_reserve_is_free(tmp_path: Path) -> None:
    clock, disk = VirtualClock(), [Space(total=1 << 30, free=1 << 29)]
    with Spool(tmp_path / "s.db", clock=clock, reserve=0.05, space=lambda: disk[0]) as spool:
        for number in range(12_000):
            spool.append(long(decision(), number))
        spool.commit()
        held = spool.pending_bytes
        assert held > 2 * FLOOR_BYTES
        disk[0] = Space(total=1 << 30, free=1 << 25)  # somebody takes what was free, but for 3 %
        clock.advance(60.0)
        for number in range(2_000):
            spool.append(long(decision(), number))
        assert spool.pending_bytes <= held + 100_000  # and what a log of pages had free
        dropped = spool.accounts().dropped[LossReason.SPOOL_FULL]
        assert 1000 < dropped < 4000
        spool.acked(Ack(spool.boot, ((0, 8_000),)))
        clock.advance(60.0)
        for number in range(2_000):  # what the file has free is the spool's to use
            spool.append(long(decision(), number))
        assert spool.accounts().dropped[LossReason.SPOOL_FULL] == dropped


def test_a_disk_that_others_fill_leaves_the_spool_a_floor(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", reserve=0.05, space=lambda: Space(total=1 << 30, free=0)) as spool:
        for number in range(6_000):
            spool.append(long(decision(), number))
        assert 0.8 * FLOOR_BYTES < spool.pending_bytes <= FLOOR_BYTES + 30_000


def test_committed_records_survive_sigkill(tmp_path: Path) -> None:
    """A child reports what it has committed; killed at any moment, at least that much is there afterwards."""
    path = tmp_path / "s.db"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tamiyo_runtime.spool import Spool\n"
        "from tamiyo_runtime.contracts.records import Sample\n"
        "spool = Spool(Path(sys.argv[1]), group_records=20)\n"
        "record = Sample(t_ms=1, configuration='c', answer=1, confidence_permille=1, latency_us=1, energy_uj=1)\n"
        "while True:\n"
        "    seq = spool.append(record)\n"
        "    if seq % 20 == 19: print(spool.boot, seq, flush=True)\n"
    )
    reported: set[tuple[int, int]] = set()
    for lines in (1, 7, 40):
        child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(lines):
            boot, seq = map(int, child.stdout.readline().split())
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout.read().splitlines():
            boot, seq = map(int, line.split())
        child.wait()
        reported |= {(boot, n) for n in range(seq + 1)}
    with Spool(path) as spool:
        assert reported <= set(numbers(spool))


def test_a_spool_without_a_path_is_in_memory_and_its_boot_is_drawn_by_whom_it_is_told(tmp_path: Path) -> None:
    clock, before = VirtualClock(), set(Path.cwd().iterdir())
    spools = [Spool(None, clock=clock, randbits=random.Random(3).getrandbits) for _ in range(2)]
    assert spools[0].boot == spools[1].boot
    with spools[0] as one, spools[1] as two:
        assert one.due_s() == math.inf
        one.append(metric())
        assert one.due_s() == 1.0
        clock.advance(1.0)
        one.tick()
        assert (one.accounts().pending, two.accounts().pending, one.trouble) == (1, 0, None)
        assert one.acked(Ack(one.boot, ((0, 0),))) == 1
    assert set(Path.cwd().iterdir()) == before


def test_boots_of_which_nothing_waits_are_forgotten_in_time_and_the_balance_holds(tmp_path: Path) -> None:
    numbers = []
    for number in range(80):
        with Spool(tmp_path / "s.db") as spool:
            numbers.append(spool.boot)
            spool.append(metric())
            spool.commit()
            if number % 2:
                spool.drop([spooled.key for spooled in spool.pending(Priority.RAW)], LossReason.EXPIRED)
            waiting = everything(spool)
            for boot in {spooled.key.boot for spooled in waiting}:
                seqs = tuple((s.key.seq, s.key.seq) for s in waiting if s.key.boot == boot)
                spool.acked(Ack(boot=boot, ranges=seqs))
    with Spool(tmp_path / "s.db") as spool:
        boots = [times.boot for times in spool._rows.boots()]
        assert boots == [*numbers[-63:], spool.boot]
        assert spool._rows.one("SELECT MIN(boot) FROM drops") >= boots[0]
        accounts = spool.accounts()
        assert accounts.created == accounts.acked + accounts.pending + sum(accounts.dropped.values())


def test_a_boot_of_which_something_waits_is_remembered_with_all_after_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        first = spool.boot
        spool.append(alarm())
    for _ in range(70):
        Spool(tmp_path / "s.db").close()
    with Spool(tmp_path / "s.db") as spool:
        assert spool._rows.boots()[0].boot == first
        assert len(spool._rows.boots()) == 72
        assert spool.created(first) == 1
        spool.acked(Ack(boot=first, ranges=((0, 0),)))
    with Spool(tmp_path / "s.db") as spool:
        assert len(spool._rows.boots()) == 64


def test_an_ack_of_a_tombstone_that_was_never_handed_out_counts_it_once(tmp_path: Path) -> None:
    """It must not grow afterwards: under its number it would be stored there and wait here."""
    with Spool(tmp_path / "d.spool", limit_bytes=3000, group_records=10) as spool:
        for number in range(400):
            spool.append(decision(number))
            if number % 10 == 9:
                spool.acked(Ack(spool.boot, ((spool._group.next_seq - 6, spool._group.next_seq - 1),)))
        spool.commit()
        accounts = spool.accounts()
        assert accounts.dropped
        assert accounts.created == accounts.acked + accounts.pending + sum(accounts.dropped.values())
