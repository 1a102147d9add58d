"""A slow link with a fast one in passing: what matters goes at once, single samples wait, and nothing is lost."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from simulators.links import open_link
from simulators.links.contact import LoRaWithContact
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.records import (
    Ack,
    Batch,
    Decision,
    Event,
    EventRecord,
    Priority,
    Sample,
    Window,
)
from tamiyo_runtime.meters import Usage, VirtualClock
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.transport.memory import Bus
from tests.records import decision

_names = count()


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """Commits wait for no disk: asked is what is stored and sent, not what outlives a power cut."""
    return in_memory


@dataclass(frozen=True, slots=True)
class Frame:
    """What arrived, when, and whether a contact was there."""

    at_s: float
    contact: bool
    size: int
    batch: Batch

    @property
    def kinds(self) -> set[str]:
        return {numbered.record.KIND for numbered in self.batch.records}


class Field:
    """A device at 2 Hz with alarms and decisions now and then, and a far end that acks at once."""

    def __init__(self, folder: Path, link: LoRaWithContact, *, acks: bool = True, **options: object) -> None:
        self.clock, self.link, self.acks = VirtualClock(), link, acks
        self.rng = random.Random(3)
        self.frames: list[Frame] = []
        name = f"contacts-{next(_names)}"
        self.bus = Bus.named(name)
        self.bus.handlers.append(self._take)
        self.telemetry: Telemetry = open_telemetry(
            spool=folder / "s.db",
            url=f"memory://{name}",
            fleet="f",
            device="d",
            bundle="0a0b0c0d",
            link=link,
            clock=self.clock,
            **options,  # type: ignore[arg-type]  # passed through
        )

    def _take(self, topic: str, payload: bytes) -> None:
        if not topic.endswith(("/t", "/e")):
            return
        batch = wire.decode(payload, device="d")
        now_s = self.clock.now_s()
        self.frames.append(Frame(now_s, self.link.way(now_s) is self.link.contact, len(payload), batch))
        if self.acks:
            ack = Ack(batch.boot, wire.spans(numbered.seq for numbered in batch.records))
            self.bus.send("tamiyo/v1/f/d/ack", wire.encode_ack(ack, device="d"))

    def work(self, seconds: float, *, quiet: bool = False) -> None:
        """``quiet``: nothing happens but inferences."""
        for index in range(int(2 * seconds)):
            self.clock.advance(0.5)
            now_s = self.clock.now_s()
            t_ms = int(now_s * 1000)
            self.telemetry.inference(
                t_ms=t_ms,
                configuration="c01" if index % 3 else "c00",
                usage=Usage(self.rng.uniform(1.9, 2.6), 4000.0, Source.SIMULATED, Source.SIMULATED),
                answer=index % 10,
                confidence=0.9,
                correct=None,
                deadline_missed=False,
            )
            if index % 400 == 399 and not quiet:
                self.telemetry.event(EventRecord(t_ms=t_ms, event=Event.BUDGET, detail=f"{index}"))
            if index % 100 == 99 and not quiet:
                self.telemetry.decision(decision(t_ms))
            self.telemetry.pump(now_s)

    def stored(self) -> dict[tuple[int, int], object]:
        return {
            (frame.batch.boot, numbered.seq): numbered.record
            for frame in self.frames
            for numbered in frame.batch.records
        }


def test_single_samples_go_in_contacts_only_and_everything_arrives(tmp_path: Path) -> None:
    link = LoRaWithContact(period_s=900.0, length_s=20.0, loss_probability=0.1, seed=5)
    field = Field(tmp_path, link)
    field.work(3000)
    assert field.telemetry.flush(field.clock.now_s(), 3 * 3600)
    assert all(frame.contact for frame in field.frames if Sample.KIND in frame.kinds)
    slow = [frame for frame in field.frames if not frame.contact]
    assert max(frame.size for frame in slow) <= 222
    assert {Window.KIND, EventRecord.KIND, Decision.KIND} <= set().union(*(frame.kinds for frame in slow))
    counters = field.telemetry.counters()
    assert counters.pending == 0
    assert not counters.dropped
    stored = field.stored()
    assert sorted(seq for _, seq in stored) == list(range(counters.records_created))
    samples = [record for record in stored.values() if isinstance(record, Sample)]
    assert len(samples) == pytest.approx(3000, rel=0.01)  # one a second, of two inferences
    windows = [record for record in stored.values() if isinstance(record, Window)]
    assert sum(window.inferences for window in windows) == 6000
    assert link.worst_hour_s() <= link.slow.cap_s_per_hour  # the legal duty cycle, in any hour
    field.telemetry.close()


def test_on_the_slow_link_alarms_overtake_events_and_events_windows(tmp_path: Path) -> None:
    """Its credit spent, a backlog of every class waits; each frame begins with the most important there is."""
    field = Field(tmp_path, LoRaWithContact(period_s=90_000.0, length_s=30.0))
    field.bus.up = False
    field.work(3000)
    waiting = [record.PRIORITY for record in spooled(field)]
    assert {Priority.ALARM, Priority.EVENT, Priority.METRIC, Priority.RAW} == set(waiting)
    field.bus.up = True
    field.telemetry.flush(field.clock.now_s(), 4 * 3600)
    order = [min(numbered.record.PRIORITY for numbered in frame.batch.records) for frame in field.frames]
    assert order == sorted(order)
    assert order[0] is Priority.ALARM
    assert order[-1] is Priority.METRIC
    alarms = [
        numbered.record.t_ms
        for frame in field.frames
        for numbered in sorted(frame.batch.records, key=lambda numbered: -numbered.seq)
        if isinstance(numbered.record, EventRecord)
    ]
    assert alarms == sorted(alarms, reverse=True)  # the newest first
    assert not any(Sample.KIND in frame.kinds for frame in field.frames)
    counters = field.telemetry.counters()
    assert counters.pending == sum(isinstance(record, Sample) for record in spooled(field))
    field.telemetry.close()


def spooled(field: Field) -> list[object]:
    spool = field.telemetry._spool
    return [found.record for priority in Priority for found in spool.pending(priority, limit=10**5)]


def test_a_contact_drains_the_backlog_newest_alarms_first(tmp_path: Path) -> None:
    field = Field(tmp_path, LoRaWithContact(period_s=3600.0, length_s=60.0))
    field.bus.up = False
    field.work(3600)
    field.bus.up = True
    field.work(60)
    first = field.frames[0]
    assert first.contact
    newest = max(record.t_ms for record in field.stored().values() if isinstance(record, EventRecord))
    assert any(
        isinstance(numbered.record, EventRecord) and numbered.record.t_ms == newest for numbered in first.batch.records
    )
    assert field.telemetry.counters().pending < 20  # what is younger than the wait for company
    assert field.telemetry.counters().airtime_s == 0.0
    field.telemetry.close()


def test_what_a_contact_could_not_confirm_is_packed_anew_for_the_slow_link(tmp_path: Path) -> None:
    """Frames of 16 KiB without an ack when the contact ends: LoRa takes over all but the samples."""
    link = LoRaWithContact(period_s=1200.0, length_s=20.0)
    field = Field(tmp_path, link, acks=False)
    field.bus.up = False
    field.work(1195)
    field.bus.up = True
    field.work(15)
    assert any(frame.contact and frame.size > 222 for frame in field.frames)
    field.work(100)
    field.acks = True
    field.work(1000)
    repeated = [frame for frame in field.frames if not frame.contact]
    assert repeated
    assert all(frame.size <= 222 and Sample.KIND not in frame.kinds for frame in repeated)
    field.work(600)
    assert field.telemetry.flush(field.clock.now_s(), 2 * 3600)
    assert sorted(seq for _, seq in field.stored()) == list(range(field.telemetry.counters().records_created))
    assert link.worst_hour_s() <= link.slow.cap_s_per_hour
    field.telemetry.close()


def test_the_budget_is_for_the_slow_link(tmp_path: Path) -> None:
    budget = Budget(link_bytes_per_day=2000, airtime_s_per_hour=2.0)
    field = Field(tmp_path, LoRaWithContact(period_s=3600.0, length_s=60.0), budget=budget)
    field.work(3700)
    slow = [frame for frame in field.frames if not frame.contact]
    assert sum(frame.size for frame in slow) <= 2000
    assert sum(frame.size for frame in field.frames if frame.contact) > 2 * 2000
    field.telemetry.close()


def test_a_flash_budget_leaves_single_samples_out(tmp_path: Path) -> None:
    link = LoRaWithContact(period_s=600.0, length_s=60.0)
    field = Field(tmp_path, link, flash_bytes_per_day=1e9)
    field.work(700)
    assert not any(isinstance(record, Sample) for record in field.stored().values())
    field.telemetry.close()


@pytest.mark.parametrize("factor", [7, 9, 12])
def test_windows_fit_a_lora_frame_with_as_much_of_a_sketch_as_there_is_room_for(tmp_path: Path, factor: int) -> None:
    link = open_link(f"lora-eu868-sf{factor}+contact")
    field = Field(tmp_path, link)  # type: ignore[arg-type]  # it is one
    field.work(3000, quiet=True)
    windows = [record for record in field.stored().values() if isinstance(record, Window)]
    assert len(windows) > 2
    assert field.telemetry.counters().dropped == {}
    for window in windows:
        sketch = window.latency_sketch
        assert (sketch is None) == (factor == 12)
        if sketch is not None:
            assert sketch.count == window.inferences
            median_us = sketch.quantile(0.5)
            assert median_us == pytest.approx(window.latency_p50_us, rel=sketch.relative_error)
    sizes = [frame.size for frame in field.frames if not frame.contact]
    assert max(sizes) <= link.max_payload_bytes()
    field.telemetry.close()
