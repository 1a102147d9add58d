"""The uplink: important things first, full frames, within the link's rules and the budget, until acked."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.budget import Budget
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
from tamiyo_runtime.link import Lasting, Transmission
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.transport import Address, Channel
from tamiyo_runtime.transport.memory import Bus, MemoryTransport
from tamiyo_runtime.uplink import Pace, Uplink
from tests.records import decision

ADDRESS = Address("fleet", "device")
_names = count()


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """Commits wait for no disk: asked is what is stored and sent, not what outlives a power cut."""
    return in_memory


class NarrowLink(Lasting):
    """A frame of ``size`` bytes every ``gap_s``; every ``loses``-th gets lost. Checks that its rules are kept."""

    label = "narrow"
    carries_raw = True

    def __init__(self, *, size: int = 100, gap_s: float = 30.0, loses: int = 0) -> None:
        self.size, self.gap_s, self.loses = size, gap_s, loses
        self.free_s = 0.0
        self.sent: list[tuple[float, int]] = []

    def max_payload_bytes(self) -> int:
        return self.size

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        return max(now_s, self.free_s)

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        assert now_s >= self.free_s
        assert size_bytes <= self.size
        self.free_s = now_s + self.gap_s
        self.sent.append((now_s, size_bytes))
        lost = self.loses > 0 and len(self.sent) % self.loses == 0
        return Transmission(delivered=not lost, airtime_s=0.3, latency_s=0.4, energy_uj=5.0)

    def sustainable_bytes_per_s(self) -> float:
        return self.size / self.gap_s

    def level(self, now_s: float) -> float:
        return 1.0


class FarEnd:
    """Collects what arrives and, unless told otherwise, acks it."""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.acks = bus, True
        self.frames: list[tuple[Channel, list[Record]]] = []
        self.stored: dict[tuple[int, int], Record] = {}
        bus.handlers.append(self)

    def __call__(self, topic: str, payload: bytes) -> None:
        channel = Channel(topic.rsplit("/", 1)[1])
        if channel not in (Channel.EVENTS, Channel.TELEMETRY):
            return
        batch = wire.decode(payload)
        self.frames.append((channel, [numbered.record for numbered in batch.records]))
        self.stored |= {(batch.boot, numbered.seq): numbered.record for numbered in batch.records}
        if self.acks:
            ack = Ack(batch.boot, tuple((numbered.seq, numbered.seq) for numbered in batch.records))
            self.bus.send(ADDRESS.topic(Channel.ACK), wire.encode_ack(ack))


class Rig:
    def __init__(self, spool: Spool, link: NarrowLink, budget: Budget | None, pace: Pace) -> None:
        url = f"memory://uplink-{next(_names)}"
        transport = MemoryTransport(url, ADDRESS, {})
        transport.start()
        self.spool, self.link, self.bus = spool, link, transport.bus
        self.far = FarEnd(transport.bus)
        self.uplink = Uplink(spool, link, transport, bundle="0a0b0c0d", pace=pace, budget=budget)

    def until(self, end_s: float, start_s: float = 0.0, step_s: float = 1.0) -> None:
        now_s = start_s
        while now_s < end_s:
            self.uplink.pump(now_s)
            now_s += step_s


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    options = getattr(request, "param", {})
    link = NarrowLink(**options.get("link", {}))
    with Spool(tmp_path / "s.db", group_records=1, clock=VirtualClock()) as spool:
        yield Rig(spool, link, options.get("budget"), options.get("pace", Pace()))


def metric(t_ms: int = 0) -> Sample:
    rng = random.Random(t_ms)
    return Sample(
        t_ms=t_ms,
        configuration="c0",
        answer=rng.randint(0, 9),
        confidence_permille=rng.randint(0, 1000),
        latency_us=rng.randint(1000, 3000),
        energy_uj=rng.randint(1000, 9000),
    )


ALARM = EventRecord(t_ms=0, event=Event.MODE, detail="safe")


def test_an_alarm_goes_at_once_and_takes_along_what_fits(rig: Rig) -> None:
    for t_ms in range(3):
        rig.spool.append(metric(t_ms))
    rig.uplink.pump(0.0)
    assert rig.link.sent == []
    rig.spool.append(ALARM)
    rig.uplink.pump(1.0)
    ((channel, records),) = rig.far.frames
    assert channel is Channel.EVENTS
    assert ALARM in records and len(records) == 4


def test_metrics_wait_until_their_frame_is_full(rig: Rig) -> None:
    for t_ms in range(60):
        rig.spool.append(metric(t_ms))
        rig.uplink.pump(t_ms * 0.5)
    assert rig.far.frames
    assert all(size >= 0.85 * rig.link.size for _, size in rig.link.sent)


def test_a_lonely_metric_waits_no_longer_than_its_patience(rig: Rig) -> None:
    rig.spool.append(metric())
    rig.until(59.0)
    assert rig.link.sent == []
    rig.until(62.0, start_s=59.0)
    assert len(rig.link.sent) == 1


def test_a_decision_waits_less_than_a_metric(rig: Rig) -> None:
    rig.spool.append(decision())
    rig.until(4.0)
    assert rig.link.sent == []
    rig.until(7.0, start_s=4.0)
    assert len(rig.link.sent) == 1


def test_what_matters_most_goes_first_when_the_link_is_short(rig: Rig) -> None:
    for t_ms in range(200):
        rig.spool.append(metric(t_ms))
    rig.spool.append(decision())
    rig.spool.append(ALARM)
    rig.uplink.pump(0.0)
    first = rig.far.frames[0][1]
    assert ALARM in first and decision() in first


@pytest.mark.parametrize("rig", [{"link": {"loses": 3, "gap_s": 5.0}}], indirect=True)
def test_everything_arrives_once_though_the_link_loses_frames(rig: Rig) -> None:
    for t_ms in range(100):
        rig.spool.append(metric(t_ms))
    rig.until(1500.0)
    assert len(rig.far.stored) == 100
    assert rig.spool.accounts().pending == 0
    assert rig.uplink.traffic.resent >= rig.uplink.traffic.lost > 0
    assert rig.uplink.idle()


def test_without_acks_a_frame_is_sent_again_ever_more_rarely(rig: Rig) -> None:
    rig.far.acks = False
    rig.spool.append(ALARM)
    rig.until(2000.0)
    times = [when for when, _ in rig.link.sent]
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0]
    assert rig.spool.accounts().pending == 1


def test_after_a_reconnection_what_was_in_flight_is_sent_again_at_once(rig: Rig) -> None:
    rig.far.acks = False
    rig.spool.append(ALARM)
    rig.uplink.pump(0.0)
    rig.far.acks, rig.bus.up = True, False
    rig.until(31.0, start_s=1.0)
    rig.bus.up = True
    rig.until(34.0, start_s=31.0)
    assert [when for when, _ in rig.link.sent] == [0.0, 31.0]
    assert rig.uplink.idle()


def test_nothing_is_transmitted_while_the_broker_is_away(rig: Rig) -> None:
    rig.bus.up = False
    rig.spool.append(ALARM)
    rig.until(100.0)
    assert rig.link.sent == []
    rig.bus.up = True
    rig.uplink.pump(100.0)
    assert rig.far.stored


def test_a_record_that_no_frame_can_carry_is_buried_and_the_rest_goes_on(rig: Rig) -> None:
    noise = f"{random.Random(1).getrandbits(900):x}"
    rig.spool.append(EventRecord(t_ms=0, event=Event.START, extra={"incompressible": noise}))
    rig.spool.append(decision())
    rig.until(50.0)
    stones = [record for record in rig.far.stored.values() if isinstance(record, Tombstone)]
    assert [(stone.first_seq, stone.last_seq, stone.reason) for stone in stones] == [(0, 0, LossReason.TOO_LARGE)]
    assert decision() in rig.far.stored.values()
    assert rig.uplink.idle()


@pytest.mark.parametrize("rig", [{"link": {"gap_s": 1.0}, "budget": Budget(airtime_s_per_hour=3.0)}], indirect=True)
def test_the_airtime_budget_holds_in_every_hour(rig: Rig) -> None:
    for t_ms in range(800):
        rig.spool.append(metric(t_ms))
    rig.until(9000.0, step_s=5.0)
    times = [when for when, _ in rig.link.sent]
    assert len(times) > 20
    assert all(sum(0.3 for when in times if start <= when < start + 3600) <= 3.0 + 1e-9 for start in times)


@pytest.mark.parametrize("rig", [{"link": {"gap_s": 1.0}, "budget": Budget(airtime_s_per_hour=0.7)}], indirect=True)
def test_who_waits_for_the_budget_is_told_when_it_frees(rig: Rig) -> None:
    """A clock that moves when told would else be moved on by milliseconds, and a flush would seem to hang."""
    for t_ms in range(400):
        rig.spool.append(metric(t_ms))
    rig.until(20.0)
    first, second = (when for when, _ in rig.link.sent)
    assert rig.uplink.next_s(20.0) == first + 3600.0
    rig.uplink.pump(first + 3600.0, everything=True)
    assert len(rig.link.sent) == 3
    assert rig.uplink.next_s(first + 3600.0) >= second + 3600.0


def test_nothing_is_sent_before_the_time_that_the_uplink_names(rig: Rig) -> None:
    draws, next_s = random.Random(4), 0.0
    for step in range(4000):
        now_s, sent = 0.25 * step, len(rig.link.sent)
        rig.uplink.pump(now_s)
        assert len(rig.link.sent) == sent or now_s >= next_s
        if draws.random() < 0.02:
            rig.spool.append(draws.choice((metric, decision))(int(now_s * 1e3)))
            rig.spool.commit()
            next_s = now_s
        else:
            next_s = rig.uplink.next_s(now_s)
    assert len(rig.link.sent) > 20


def test_an_uplink_with_nothing_to_do_names_no_time(rig: Rig) -> None:
    assert rig.uplink.next_s(7.0) == math.inf


@pytest.mark.parametrize("rig", [{"link": {"gap_s": 1.0}, "budget": Budget(link_bytes_per_day=500)}], indirect=True)
def test_the_byte_budget_holds_in_every_day(rig: Rig) -> None:
    for t_ms in range(300):
        rig.spool.append(metric(t_ms))
    rig.until(3 * 86400.0, step_s=100.0)
    sent = rig.link.sent
    assert sum(size for _, size in sent) > 1000
    assert all(sum(s for when, s in sent if start <= when < start + 86400) <= 500 for start, _ in sent)


@pytest.mark.parametrize(
    ("rig", "airtimes", "sizes"),
    [
        ({"link": {"gap_s": 1.0}, "budget": Budget(latency_ms=5.0)}, 0, 0),
        ({"link": {"gap_s": 1.0}, "budget": Budget(airtime_s_per_hour=36.0)}, 60, 0),
        ({"link": {"gap_s": 1.0}, "budget": Budget(link_bytes_per_day=10**6)}, 0, 200),
    ],
    indirect=["rig"],
)
def test_of_what_was_sent_no_more_is_remembered_than_the_budget_asks_for(rig: Rig, airtimes: int, sizes: int) -> None:
    for minute in range(200):
        rig.spool.append(decision(minute))
        rig.until(60.0 * minute + 60.0, start_s=60.0 * minute, step_s=10.0)
    assert rig.uplink.traffic.transmissions == 200
    assert len(rig.uplink.traffic.recent_airtime) == pytest.approx(airtimes, abs=1)
    assert len(rig.uplink.traffic.recent_bytes) == pytest.approx(sizes, abs=1)


def test_leftovers_of_an_earlier_boot_are_sent_as_theirs(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        earlier = spool.boot
        for t_ms in range(3):
            spool.append(metric(t_ms))
    with Spool(tmp_path / "s.db", group_records=1, clock=VirtualClock()) as spool:
        rig = Rig(spool, NarrowLink(), None, Pace())
        spool.append(ALARM)
        rig.until(200.0)
        assert set(rig.far.stored) == {(earlier, 0), (earlier, 1), (earlier, 2), (spool.boot, 0)}


def test_an_alarm_of_this_boot_does_not_take_metrics_past_those_of_an_earlier_boot(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        earlier = spool.boot
        for t_ms in range(3):
            spool.append(metric(t_ms))
    with Spool(tmp_path / "s.db", group_records=1, clock=VirtualClock()) as spool:
        rig = Rig(spool, NarrowLink(size=1000), None, Pace())
        for t_ms in range(3):
            spool.append(metric(t_ms))
        spool.append(ALARM)
        rig.until(400.0)
        boots = [(earlier, seq) for seq in range(3)] + [(spool.boot, seq) for seq in range(4)]
        assert set(rig.far.stored) == set(boots)
        assert spool.accounts().pending == 0


def test_a_strangers_ack_frees_nothing(rig: Rig) -> None:
    rig.far.acks = False
    rig.spool.append(ALARM)
    rig.uplink.pump(0.0)
    rig.bus.send(ADDRESS.topic(Channel.ACK), b"\xff\x00 nonsense")
    rig.bus.send(ADDRESS.topic(Channel.ACK), wire.encode_ack(Ack(rig.spool.boot + 1, ((0, 5),))))
    rig.uplink.pump(1.0)
    assert rig.spool.accounts().pending == 1
    assert rig.uplink.in_flight == 1


def test_an_ack_frees_nothing_that_was_not_sent(rig: Rig) -> None:
    rig.far.acks = False
    rig.spool.append(ALARM)
    rig.uplink.pump(0.0)
    for t_ms in range(3):
        rig.spool.append(metric(t_ms))
    rig.bus.send(ADDRESS.topic(Channel.ACK), wire.encode_ack(Ack(rig.spool.boot, ((0, (1 << 63) - 1),))))
    rig.uplink.pump(1.0)
    assert rig.uplink.in_flight == 0
    assert [spooled.key.seq for spooled in rig.spool.pending(Priority.RAW)] == [1, 2, 3]


def test_an_ack_that_a_full_disk_cannot_note_is_asked_for_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(ack: Ack) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    rig.spool.append(ALARM)
    with monkeypatch.context() as patch:
        patch.setattr(rig.spool, "acked", full)
        rig.uplink.pump(0.0)
        rig.uplink.pump(1.0)
        assert rig.uplink.in_flight == rig.spool.accounts().pending == 1
    rig.until(100.0, start_s=2.0)
    assert rig.uplink.in_flight == rig.spool.accounts().pending == 0


@pytest.mark.parametrize("rig", [{"link": {"size": 18}}], indirect=True)
def test_a_link_too_narrow_for_a_tombstone_keeps_it(rig: Rig) -> None:
    rig.spool.append(EventRecord(t_ms=1 << 40, event=Event.START, detail="x" * 60))
    rig.until(10.0)
    (stone,) = rig.spool.pending(Priority.ALARM)
    assert isinstance(stone.record, Tombstone)
    assert rig.spool.accounts().dropped == {LossReason.TOO_LARGE: 1}
