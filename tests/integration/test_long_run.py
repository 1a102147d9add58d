"""A day on the virtual clock: real graphs, a simulated board, a real spool; neither memory nor files grow.

The far end acknowledges everything, and is away for a few minutes now and then, as networks are. What is measured is
the process's own: `tracemalloc` counts what Python holds, ``/proc`` what the process does, the folder what is on disk.
"""

from __future__ import annotations

import gc
import resource
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from simulators.device import SimulatedBoard
from simulators.throttle import Phase, ThrottleSchedule
from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.plan import Format
from tamiyo_runtime.contracts.records import Ack
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.signing import SigningKey, Trust
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.transport import Address, Channel
from tamiyo_runtime.transport.memory import Bus
from tests import tiny

pytestmark = pytest.mark.slow

HOUR_S = 3600.0
AWAY_EVERY_S, AWAY_S = 1200.0, 180.0
HEAP_BYTES = 96 << 10
RSS_BYTES = 3 << 20
DISK_BYTES = 64 << 10


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """Commits wait for no disk: asked is what is stored and sent, not what outlives a power cut."""
    return in_memory


@dataclass(frozen=True, slots=True)
class Size:
    """At one moment, in bytes."""

    heap: int
    rss: int
    disk: int


class Collecting:
    """Acks what comes in."""

    def __init__(self, bus: Bus, address: Address) -> None:
        self._bus, self._address = bus, address
        self.records = 0
        bus.handlers.append(self)

    def __call__(self, topic: str, payload: bytes) -> None:
        if not topic.endswith(("/t", "/e")):
            return
        batch = wire.decode(payload, device=self._address.device)
        self.records += len(batch.records)
        ack = Ack(batch.boot, wire.spans(numbered.seq for numbered in batch.records))
        self._bus.send(self._address.topic(Channel.ACK), wire.encode_ack(ack, device=self._address.device))


class Watched:
    """A reporter between session and telemetry that measures at set times and takes the network away at others."""

    def __init__(self, telemetry: Telemetry, bus: Bus, folder: Path, marks_s: list[float]) -> None:
        self._telemetry, self._bus, self._folder = telemetry, bus, folder
        self._marks_s = marks_s
        self.sizes: list[Size] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._telemetry, name)

    def pump(self, now_s: float) -> None:
        self._bus.up = now_s % AWAY_EVERY_S >= AWAY_S
        self._telemetry.pump(now_s)
        if self._marks_s and now_s >= self._marks_s[0] and self._telemetry.counters().pending < 100:
            self._marks_s.pop(0)
            self.sizes.append(self._measure())

    def _measure(self) -> Size:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        disk = sum(file.stat().st_size for file in self._folder.iterdir())
        return Size(tracemalloc.get_traced_memory()[0], pages * resource.getpagesize(), disk)


def run(folder: Path, *, hours: float, settled_hours: float) -> None:
    clock = VirtualClock()
    made = tiny.make()
    key = SigningKey.generate()
    write_bundle(folder / "tiny.tamiyo", made.manifest, made.files, key, overwrite=False)
    bundle = Bundle.open(folder / "tiny.tamiyo", trusted=Trust.of(key.public))
    spool, name = folder / "spool", f"day-{folder.name}"
    spool.mkdir()
    telemetry = open_telemetry(
        spool=spool / "spool.db",
        url=f"memory://{name}",
        fleet="test",
        device="board-1",
        bundle="0a0b0c0d",
        link=Ethernet(),
        clock=clock,
        window_s=10.0,
        samples_per_s=1.0,
    )
    bus = Bus.named(name)
    far = Collecting(bus, Address("test", "board-1"))
    watched = Watched(telemetry, bus, spool, [settled_hours * HOUR_S, hours * HOUR_S - 120.0])
    # throttled for five minutes of every half hour, so that decisions and events are made all day
    phases = [
        Phase(start_s=start + offset, slowdown=slowdown, label="")
        for start in range(0, int(hours * HOUR_S), 1800)
        for offset, slowdown in ((600.0, 2.5), (900.0, 1.0))
    ]
    tracemalloc.start()
    try:
        summary = Session(
            bundle.manifest,
            Executor(bundle, "int8"),
            board=SimulatedBoard(bundle.manifest.profile, clock=clock, schedule=ThrottleSchedule(tuple(phases))),
            source=open_source("bundle", bundle),
            reporter=watched,
            policy=Policy.of(bundle, Format.TFLITE),
            plan=Plan(samples=int(hours * HOUR_S), period_s=1.0),
        ).run()
    finally:
        tracemalloc.stop()
    bus.up = True
    assert telemetry.flush(clock.now_s(), HOUR_S)
    counters = telemetry.counters()
    telemetry.close()
    before, after = watched.sizes
    print(
        f"{hours} simulated h, {counters.records_created} records; hour {settled_hours}: {before}; at the end: {after}"
    )
    assert summary.inferences == int(hours * HOUR_S)
    assert counters.stored_acked == counters.records_created > hours * HOUR_S
    assert far.records >= counters.records_created
    assert clock.now_s() >= hours * HOUR_S - 1.0
    assert after.heap - before.heap < HEAP_BYTES
    assert after.rss - before.rss < RSS_BYTES
    assert after.disk - before.disk < DISK_BYTES


def test_neither_memory_nor_files_grow_over_simulated_time(tmp_path: Path) -> None:
    run(tmp_path, hours=0.6, settled_hours=0.4)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_neither_memory_nor_files_grow_over_a_simulated_day(tmp_path: Path) -> None:
    run(tmp_path, hours=24.0, settled_hours=2.0)
