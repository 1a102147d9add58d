"""A device under update and its office, without a socket: real agent, real shelf, a disk and an air that may fail.

The device's loop is a stand-in that counts samples; that a real session takes the same changes is shown elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError
from tamiyo_runtime.contracts.records import Event, Mode
from tamiyo_runtime.control import Change, Loaded
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import BoardStatus, Usage
from tamiyo_runtime.signing import Trust
from tamiyo_runtime.summary import Tally, Turn
from tamiyo_runtime.transport.inbox import Inboxes
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update.agent import Agent, Tools
from tamiyo_runtime.update.disk import Disk
from tamiyo_runtime.update.exchange import Applied, Exchange, Running
from tamiyo_runtime.update.health import HealthLimits
from tamiyo_runtime.update.messages import Reported, Want
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.record import Record
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.states import RUNNABLE
from tamiyo_runtime.update.store import Store
from tests.updates import FACTORY, NOW_S, opened

PAYLOAD_BYTES = 1024
WINDOW = 40
SICK = 3
"""The version that misses its deadlines."""

BOARD = BoardStatus(slowdown=1.0, temperature_c=None, throttled=False)


class Air:
    """The port `Transport` on the device's side, and a queue a direction. ``up`` False: no connection."""

    label = "air"

    def __init__(self) -> None:
        self.up = True
        self.inboxes = Inboxes((Channel.ACK, Channel.ORDER, Channel.CHUNK))
        self.sent: list[tuple[Channel, bytes]] = []

    def start(self) -> None: ...

    def connected(self) -> bool:
        return self.up

    def trouble(self) -> str | None:
        return None

    def publish(self, channel: Channel, payload: bytes) -> bool:
        if self.up:
            self.sent.append((channel, payload))
        return self.up

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        return self.inboxes.take(channel)

    def wait(self, timeout_s: float) -> bool:
        return False

    def close(self, farewell: object) -> None: ...


@functools.cache
def _loaded(sha256: str, data: bytes) -> Loaded:
    bundle = Bundle.parse(data, name=sha256, trusted=Trust.of(FACTORY.public))
    return Loaded(bundle=bundle, executor=Executor(bundle, "float"), policy=None)


def load(disk: Disk, name: str) -> Loaded:
    """A bundle on a disk, ready to run; the same bytes are loaded once."""
    data = disk.read(name, 0, disk.size(name) or 0)
    return _loaded(hashlib.sha256(data).hexdigest(), data)


@dataclass
class Device:
    """A device from one start to the next: `Store.start`, an agent, and a loop that takes what the agent hands it."""

    disk: Disk
    air: Air = field(default_factory=Air)
    objects: Callable[[Change], str | None] = lambda change: None
    clock_s: Callable[[], int] = lambda: NOW_S + 1
    test: Callable[[str], Identity] | None = None
    wide: bool = True

    def __post_init__(self) -> None:
        store = Store.open(self.disk)
        started = store.start()
        self.runs = load(self.disk, started.file)
        self.budget: Budget | None = store.record.budget
        self.use_policy = True
        self.now_s = 0.0
        self.events: list[tuple[Event, int, str]] = []
        self.switches: list[int] = []
        self._tally()
        slot = store.record.slots[str(store.record.running)]
        applied = Applied(sha256=str(slot.sha256), budget=self.budget, use_policy=True)
        running = Running(
            applied=applied, own_budget=self.runs.bundle.manifest.budget, runnables=self.runs.executor.runnables
        )
        self.exchange = Exchange(running, lambda *event: self.events.append(event))
        tools = Tools(
            test=self.test or (lambda name: opened(self.disk, name)),
            load=lambda name: load(self.disk, name),
            clock_s=self.clock_s,
        )
        self.agent = Agent(
            self.disk,
            self.air,
            self.exchange,
            tools,
            limits=HealthLimits(window=WINDOW),
            wide=self.wide,
            payload_bytes=PAYLOAD_BYTES,
        )

    @property
    def record(self) -> Record:
        return self.agent.record

    @property
    def version(self) -> int:
        return self.runs.bundle.manifest.version

    def step(self, seconds: float = 1.0, samples: int = 10) -> None:
        """Samples run, the loop has a turn, and so has the agent."""
        self.now_s += seconds
        for _ in range(samples):
            cost = self.runs.executor.runnables[0].cost
            usage = Usage(
                latency_ms=cost.latency_ms.value,
                energy_uj=1.0,
                latency_source=Source.SIMULATED,
                energy_source=Source.SIMULATED,
            )
            self.tally.samples += 1
            self.tally.served(0, usage, None, missed=self.version == SICK)
        turn = Turn(self.tally, Mode.NORMAL, None, 1.0, BOARD, None)
        if (change := self.exchange.poll(turn)) is not None:
            if (problem := self.objects(change)) is not None:
                self.exchange.refused(change, problem)
            else:
                self._make(change)
        self.agent.step(self.now_s)

    def reported(self) -> Reported:
        """What was said last."""
        payload = next(payload for channel, payload in reversed(self.air.sent) if channel is Channel.REPORTED)
        return Reported.from_bytes(payload, self.record.device)

    def _make(self, change: Change) -> None:
        if change.loaded is not None:
            self.runs = change.loaded
            self.switches.append(self.version)
            self._tally()
        elif change.budget not in (None, self.budget):
            self._tally()
        self.budget = change.budget or self.budget
        self.use_policy = self.use_policy if change.use_policy is None else change.use_policy

    def _tally(self) -> None:
        self.tally = Tally([runnable.configuration for runnable in self.runs.executor.runnables])


@dataclass
class Office:
    """Sends an order, and what is asked for. ``chaos``: of frames, what becomes of each on its way."""

    shelf: Shelf
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    loses: float = 0.0
    doubles: float = 0.0
    damages: float = 0.0
    shuffles: bool = False
    read: int = 0
    held: list[bytes] = field(default_factory=list)
    asked: int = 0

    def serve(self, device: Device) -> None:
        """Answer what the device asked for since the last call, over an air that may fail."""
        said, device.air.sent = device.air.sent[self.read :], device.air.sent[-2000:]
        self.read = len(device.air.sent)
        for channel, payload in said:
            if channel is Channel.WANT and self.draw.random() >= self.loses:
                try:
                    wanted = list(self.shelf.frames(Want.from_bytes(payload, device.record.device)))
                except SchemaError:
                    continue  # of another bundle than this office has
                self.asked += 1
                self.held += [frame for frame in wanted for _ in range(1 + (self.draw.random() < self.doubles))]
        if self.shuffles:
            self.draw.shuffle(self.held)
        now, self.held = self.held[:48], self.held[48:][:200]
        for frame in now:
            if self.draw.random() < self.loses:
                continue
            arrives = bytearray(frame)
            if self.draw.random() < self.damages:
                arrives[self.draw.randrange(len(frame))] ^= 1
            device.air.inboxes.put(Channel.CHUNK, bytes(arrives))


def runnable(disk: Disk) -> Record:
    """Assert that what the record says runs is whole, signed and allowed to; the record."""
    record = Store.open(disk).record
    assert record.running is not None
    slot = record.slots[record.running]
    assert slot.state in RUNNABLE
    assert opened(disk, f"{record.running}/bundle.tamiyo").version == slot.version
    return record


def shelf_of(path: Path) -> Shelf:
    return Shelf(path)


def refuses(problem: str) -> Callable[[str], Identity]:
    """A canary that came back with bad news."""

    def test(name: str) -> Identity:
        raise IntegrityError(problem)

    return test


def full(name: str) -> Identity:
    """A disk that cannot be used."""
    raise InputError("no space left on device")
