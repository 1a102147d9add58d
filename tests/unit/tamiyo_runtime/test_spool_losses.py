"""What a spool gives up, least important and oldest first, and how it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamiyo_runtime.ages import bounds_s
from tamiyo_runtime.contracts.records import (
    Ack,
    LossReason,
    Priority,
    Sample,
    Tombstone,
)
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.spool import Spool
from tests.records import decision
from tests.unit.tamiyo_runtime.spooling import (
    DAYS,
    alarm,
    damage,
    everything,
    metric,
)


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


def test_an_acked_record_is_not_buried(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", group_records=1) as spool:
        spool.append(metric())
        key = everything(spool)[0].key
        spool.acked(Ack(spool.boot, ((0, 0),)))
        spool.drop([key], LossReason.TOO_LARGE)
        assert everything(spool) == []
        assert spool.accounts().dropped == {}


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
