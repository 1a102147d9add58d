"""Telemetry: windows add up, their length fits the link, samples go where they can, connections are events."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
from tamiyo_runtime.contracts.records import (
    Ack,
    Decision,
    Event,
    EventRecord,
    LossReason,
    Mode,
    Priority,
    Reason,
    Record,
    Sample,
    Tombstone,
    Window,
)
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality
from tamiyo_runtime.link import Ethernet, Link, Transmission
from tamiyo_runtime.meters import MonotonicClock, Usage, VirtualClock
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.spool_file import FlashMeter
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.timekeeping import FakeWallClock
from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.memory import Bus
from tamiyo_runtime.uplink import Pace
from tamiyo_runtime.windows import RESERVOIR, WindowBuilder, percentile

_names = count()


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """Commits wait for no disk: asked is what is stored and sent, not what outlives a power cut."""
    return in_memory


class Radio(Ethernet):
    """222 bytes every 37 s: what LoRa at SF7 and 1 % duty cycle can do."""

    label = "radio"
    carries_raw = False

    def __init__(self) -> None:
        self.free_s = 0.0

    def max_payload_bytes(self) -> int:
        return 222

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        return max(now_s, self.free_s)

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        assert now_s >= self.free_s
        self.free_s = now_s + 37.0
        return Transmission(delivered=True, airtime_s=0.369, latency_s=0.4, energy_uj=1.0)

    def sustainable_bytes_per_s(self) -> float:
        return 6.0


class Rig:
    """Telemetry on a virtual clock whose far end acks at once."""

    def __init__(self, folder: Path, link: Link | None = None, **options: object) -> None:
        self.clock = VirtualClock()
        name = f"telemetry-{next(_names)}"
        self.bus = Bus.named(name)
        self.records: dict[tuple[int, int], Record] = {}
        self.announced: list[tuple[str, bytes]] = []
        self.stamps: list[Stamp] = []
        self.arrivals_s: list[float] = []
        self.bus.handlers.append(self._take)
        self.telemetry: Telemetry = open_telemetry(
            spool=folder / "s.db",
            url=f"memory://{name}",
            fleet="f",
            device="d",
            bundle="0a0b0c0d",
            link=link or Ethernet(),
            clock=self.clock,
            **options,  # type: ignore[arg-type]  # passed through
        )

    def _take(self, topic: str, payload: bytes) -> None:
        if not topic.endswith(("/t", "/e")):
            self.announced.append((topic, payload))
            return
        batch = wire.decode(payload, device="d")
        self.records |= {(batch.boot, numbered.seq): numbered.record for numbered in batch.records}
        assert batch.stamp is not None
        self.stamps.append(batch.stamp)
        self.arrivals_s.append(self.clock.now_s())
        ack = Ack(batch.boot, tuple((numbered.seq, numbered.seq) for numbered in batch.records))
        self.bus.send("tamiyo/v1/f/d/ack", wire.encode_ack(ack, device="d"))

    def work(self, seconds: float, *, hz: float = 20.0, latency_ms: Callable[[int], float] = lambda i: 2.0) -> int:
        inferences = int(seconds * hz)
        for index in range(inferences):
            self.clock.advance(1.0 / hz)
            now_s = self.clock.now_s()
            self.telemetry.inference(
                t_ms=int(now_s * 1000),
                configuration="c01" if index % 3 else "c00",
                usage=Usage(latency_ms(index), 4000.5, Source.SIMULATED, Source.SIMULATED),
                answer=index % 10,
                confidence=0.9,
                correct=index % 5 != 0,
                deadline_missed=index % 50 == 0,
            )
            self.telemetry.pump(now_s)
        return inferences

    def kept(self, kind: type[Record]) -> list[Record]:
        return [record for _, record in sorted(self.records.items()) if isinstance(record, kind)]


def windows_of(rig: Rig) -> list[Window]:
    return [record for record in rig.kept(Window) if isinstance(record, Window)]


@pytest.mark.parametrize("link", [Ethernet(), Radio()], ids=["cable", "radio"])
def test_windows_add_up_to_what_happened(tmp_path: Path, link: Link) -> None:
    rig = Rig(tmp_path, link)
    done = rig.work(120)
    for index in range(7):
        rig.telemetry.skipped(t_ms=120_000 + index, reason=Reason.SKIP_ENERGY)
    assert rig.telemetry.flush(rig.clock.now_s(), 3600)
    windows = windows_of(rig)
    assert sum(window.inferences for window in windows) == done
    assert sum(window.skipped for window in windows) == 7
    assert sum(window.deadline_misses for window in windows) == done // 50
    assert sum(window.correct for window in windows) == done * 4 // 5
    assert sum(window.counts["c00"] for window in windows) == done // 3
    assert sum(window.energy_uj for window in windows) == pytest.approx(done * 4000.5, abs=len(windows))
    assert all(a.t_ms + a.duration_ms <= b.t_ms for a, b in pairwise(windows))
    rig.telemetry.close()


def test_on_a_radio_what_is_recorded_fits_what_the_link_can_carry(tmp_path: Path) -> None:
    link = Radio()
    rig = Rig(tmp_path, link)
    rig.work(7200, hz=2.0)
    counters = rig.telemetry.counters()
    assert counters.bytes_sent <= 7200 * link.sustainable_bytes_per_s() + 222
    assert counters.pending <= 12  # at the end of two hours no backlog but the frame that is filling up
    assert not rig.kept(Sample)
    assert counters.records_created > 300
    rig.telemetry.close()


def test_on_a_cable_inferences_are_recorded_one_by_one_up_to_a_rate(tmp_path: Path) -> None:
    rig = Rig(tmp_path, samples_per_s=10.0)
    rig.work(20, hz=5.0)
    assert rig.telemetry.flush(rig.clock.now_s(), 10)
    assert len(rig.kept(Sample)) == 100
    rig.work(20, hz=100.0)
    assert rig.telemetry.flush(rig.clock.now_s(), 10)
    assert len(rig.kept(Sample)) - 100 == pytest.approx(200, abs=3)
    assert sum(window.inferences for window in windows_of(rig)) == 2100
    rig.telemetry.close()


def test_windows_grow_while_a_backlog_remains(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Radio())
    rig.work(60)
    short_s = rig.telemetry.window_length_s()
    rig.bus.up = False
    for index in range(200):
        rig.telemetry.event(EventRecord(t_ms=60_000 + index, event=Event.BUDGET, detail=f"limit {index}"))
    assert rig.telemetry.window_length_s() > 3 * short_s
    rig.telemetry.close()


def test_a_byte_budget_makes_windows_longer(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    free, bound = Rig(tmp_path, Radio()), Rig(tmp_path / "a", Radio(), budget=Budget(link_bytes_per_day=8640))
    assert bound.telemetry.window_length_s() > 50 * free.telemetry.window_length_s()
    free.telemetry.close()
    bound.telemetry.close()


def test_losing_the_broker_and_finding_it_again_are_events(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.work(2)
    rig.bus.up = False
    rig.work(2)
    rig.bus.up = True
    rig.work(2)
    assert rig.telemetry.flush(rig.clock.now_s(), 60)
    events = [record.event for record in rig.kept(EventRecord) if isinstance(record, EventRecord)]
    assert events == [Event.LINK_LOST, Event.LINK_RESTORED]
    assert sum(window.inferences for window in windows_of(rig)) == 120
    rig.telemetry.close()


def test_what_was_not_delivered_is_delivered_after_the_next_start(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.bus.up = False
    first.telemetry.event(EventRecord(t_ms=1, event=Event.START))
    assert not first.telemetry.flush(0.0, 100.0)
    assert first.clock.now_s() >= 100.0
    first.telemetry.close()
    second = Rig(tmp_path)
    assert second.telemetry.flush(0.0, 10.0)
    assert set(second.records) == {(first.telemetry.boot, 0)}
    second.telemetry.close()


def test_counters_balance_and_a_farewell_says_how_many_there_were(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Radio())
    rig.work(300)
    decision = Decision(
        t_ms=1,
        proposed="",
        granted="c00",
        reason=Reason.NO_POLICY,
        mode=Mode.NORMAL,
        latency_left_permille=-5,
        bucket_permille=0,
    )
    rig.telemetry.decision(decision)
    counters = rig.telemetry.counters()
    assert counters.records_created == counters.stored_acked + counters.pending + sum(counters.dropped.values())
    assert rig.telemetry.flush(rig.clock.now_s(), 3600)
    counters = rig.telemetry.counters()
    assert counters.pending == 0
    assert counters.stored_acked == len(rig.records)
    assert counters.airtime_s == pytest.approx(0.369 * counters.transmissions)
    rig.telemetry.close()
    topic, farewell = rig.announced[-1]
    assert topic.endswith("/state")
    assert announcement.read(farewell, "d", path="state")["created"] == counters.records_created


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
def test_a_wall_clock_that_is_set_changes_an_event_and_what_is_told_of_it_and_nothing_else(
    tmp_path: Path, step_ms: int
) -> None:
    def run(folder: Path, step_ms: int) -> tuple[Rig, FakeWallClock]:
        folder.mkdir()
        wall = FakeWallClock(quality=TimeQuality.RTC)
        rig = Rig(folder, Radio(), wall=wall)
        rig.work(600)
        wall.set_by(step_ms)
        wall.quality = TimeQuality.NTP if step_ms else wall.quality
        rig.work(600)
        assert rig.telemetry.flush(rig.clock.now_s(), 3600)
        rig.telemetry.close()
        return rig, wall

    undisturbed, _ = run(tmp_path / "a", 0)
    disturbed, wall = run(tmp_path / "b", step_ms)
    (event,) = disturbed.kept(EventRecord)
    assert isinstance(event, EventRecord)
    assert (event.event, event.value, event.detail) == (Event.CLOCK, step_ms, "ntp")
    assert 600_000 <= event.t_ms <= 611_000
    assert disturbed.kept(Window) == undisturbed.kept(Window)
    told = [stamp.offset_ms for stamp in disturbed.stamps if stamp.offset_ms is not None]
    assert told == [wall.offset_ms - step_ms, wall.offset_ms]  # once each: acked, it is not repeated
    assert {stamp.quality for stamp in disturbed.stamps} == {TimeQuality.RTC, TimeQuality.NTP}
    for stamp, arrived_s in zip(disturbed.stamps, disturbed.arrivals_s, strict=True):
        assert stamp.sent_ms == int(arrived_s * 1000)
    birth = json.loads(next(payload for topic, payload in disturbed.announced if topic.endswith("/birth")))
    assert (birth["time_quality"], birth["offset_ms"]) == ("rtc", wall.offset_ms - step_ms)


def test_without_a_wall_clock_only_the_time_of_sending_is_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.work(5)
    assert rig.telemetry.flush(rig.clock.now_s(), 60)
    assert {(stamp.offset_ms, stamp.quality) for stamp in rig.stamps} == {(None, TimeQuality.NONE)}
    assert all(stamp.sent_ms is not None for stamp in rig.stamps)
    birth = json.loads(next(payload for topic, payload in rig.announced if topic.endswith("/birth")))
    assert birth["time_quality"] == "none"
    assert "offset_ms" not in birth
    rig.telemetry.close()


def test_a_device_with_nothing_to_do_says_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, wall=FakeWallClock())
    for _ in range(4 * 3600):
        rig.clock.advance(0.25)
        rig.telemetry.pump(rig.clock.now_s())
    counters = rig.telemetry.counters()
    assert (counters.records_created, counters.transmissions) == (0, 0)
    rig.telemetry.close()


def test_records_get_no_older_than_they_may(tmp_path: Path) -> None:
    rig = Rig(tmp_path, spool_days=0.005)
    rig.bus.up = False
    rig.work(1200, hz=1.0)
    rig.bus.up = True
    assert rig.telemetry.flush(rig.clock.now_s(), 3600)
    dropped = rig.telemetry.counters().dropped
    assert set(dropped) == {LossReason.EXPIRED}
    stones = [record for record in rig.kept(Tombstone) if isinstance(record, Tombstone)]
    assert sum(stone.last_seq - stone.first_seq + 1 for stone in stones) == sum(dropped.values())
    assert min(window.t_ms for window in windows_of(rig)) >= 1_200_000 - 432_000 - 61_000
    rig.telemetry.close()


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
def test_percentiles_are_exact(latencies: list[int]) -> None:
    builder = WindowBuilder(random.Random(0))
    for latency in latencies:
        builder.add("c", latency, 1.0, None, False)
    window = builder.build(0, 1, 0, 1000)
    ordered = sorted(latencies)
    assert window.latency_p50_us == ordered[math.ceil(0.50 * len(ordered)) - 1]
    assert window.latency_p95_us == ordered[math.ceil(0.95 * len(ordered)) - 1]
    assert window.latency_max_us == ordered[-1]
    assert percentile([], 0.5) == 0


def test_a_huge_window_keeps_a_fair_sample_and_the_true_maximum() -> None:
    builder = WindowBuilder(random.Random(0))
    for latency in range(4 * RESERVOIR):
        builder.add("c", latency, 1.0, None, False)
    window = builder.build(0, 1, 0, 1000)
    assert window.inferences == 4 * RESERVOIR
    assert window.latency_max_us == 4 * RESERVOIR - 1
    assert window.latency_p50_us == pytest.approx(2 * RESERVOIR, rel=0.03)


@pytest.mark.parametrize("budget", [None, 5e6])
def test_a_flash_budget_is_held_by_longer_windows_that_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float | None
) -> None:
    cost = count(0, 10_000)  # so much a transaction, which reads the meter before and after
    monkeypatch.setattr(FlashMeter, "read", lambda self: next(cost))
    rig = Rig(tmp_path, flash_bytes_per_day=budget, samples_per_s=0.0 if budget is None else 50.0)
    hours = 1 if budget is None else 3
    inferences = rig.work(hours * 3600.0, hz=0.2)
    written = rig.telemetry._spool.flash_bytes
    assert rig.telemetry.flush(rig.clock.now_s(), 60.0)
    seen = windows_of(rig)
    assert sum(window.inferences for window in seen) == inferences
    assert not rig.kept(Sample) or budget is None
    told = [record.value for record in rig.kept(EventRecord) if record.event is Event.FLASH]  # type: ignore[attr-defined]
    per_day = written * 24 / hours
    if budget is None:
        assert per_day > 50e6
        assert told == []
    else:
        assert 0.5 * budget < per_day < 1.1 * budget
        assert max(window.duration_ms for window in seen) > 100_000
        assert len(told) == 1
        assert told[0] > 100


def test_names_and_schemes_are_checked_before_anything_is_started(tmp_path: Path) -> None:
    good = {"spool": tmp_path / "s.db", "fleet": "f", "device": "d", "bundle": "0a0b0c0d", "url": None}
    for wrong, error in (
        ({"device": "a/b"}, InputError),
        ({"fleet": "+"}, InputError),
        ({"url": "mqt://x"}, UnknownNameError),
        ({"url": "mqtt://"}, InputError),
    ):
        with pytest.raises(error):
            open_telemetry(link=Ethernet(), clock=VirtualClock(), **{**good, **wrong})  # type: ignore[arg-type]
    offline = open_telemetry(link=Ethernet(), clock=MonotonicClock(), pace=Pace(), **good)  # type: ignore[arg-type]
    offline.event(EventRecord(t_ms=0, event=Event.START))
    assert not offline.flush(MonotonicClock().now_s(), 0.2)
    assert offline.counters().pending == 1
    offline.close()


def test_a_damaged_spool_is_set_aside_and_an_alarm_says_so(tmp_path: Path) -> None:
    spool = tmp_path / "s.db"
    spool.write_bytes(b"not a database" * 100)
    telemetry = open_telemetry(
        spool=spool,
        url=None,
        fleet="f",
        device="d",
        bundle="0a0b0c0d",
        link=Ethernet(),
        clock=VirtualClock(),
    )
    assert telemetry.counters().records_created == 1
    telemetry.close()
    assert (tmp_path / "s.db.damaged").read_bytes() == b"not a database" * 100
    with Spool(spool, clock=VirtualClock()) as queue:
        (waiting,) = queue.pending(Priority.ALARM)
    assert isinstance(waiting.record, EventRecord)
    assert (waiting.record.event, waiting.record.detail) == (Event.SPOOL_LOST, "s.db.damaged")
