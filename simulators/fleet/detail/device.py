"""One device from boot to the end of the simulation: the real runtime on a virtual clock.

`Inferring` runs a bundle: session, governor, interpreter, monitors, telemetry, spool in memory, uplink. `Reporting`
records something of its own at given times and sends it once, without waiting for company or for an ack, which is what
the vector engine has a device do; a payload too small for that it sends bare, by the same link. Either is a function of
its values and of the judge of its frames, and repeats itself bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from random import Random

from simulators.device import SimulatedBoard
from simulators.faults.bits import BitFlips
from simulators.faults.disturbed import Disturbed, SensorFault
from simulators.fleet.detail.cell import Cell, CellLink
from simulators.fleet.detail.clock import DozingClock
from simulators.fleet.detail.far_end import Arrival, FarEnd
from simulators.fleet.detail.link import FieldLink, Frame, Judge, Radio
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.records import Event, EventRecord, LossReason, Mode, Record
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import Sample, Source
from tamiyo_runtime.sources.bundled import BundleSource
from tamiyo_runtime.spool import Key, Spool
from tamiyo_runtime.summary import SessionSummary, Tally
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.uplink import Pace, Traffic, Uplink

_LOOK_S = 0.25  # as often as a session looks round
_LEAST_S = 0.02  # `Uplink.pump` finds nothing new more often than that
_ONCE = Pace(ack_timeout_s=math.inf, in_flight=1 << 62)
"""Nothing is sent again, however much is not acked."""
SMALLEST_BYTES = 32
"""Of a filled frame with a record of `Reporting` in it, which takes 25 bytes on the first day and 31 after a year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferring:
    """A device with a bundle. A sample is taken every ``period_s`` from ``start_s`` on; ``report_s`` is the shortest
    window that telemetry sums up. ``budget`` None stands for the bundle's. ``stuck``: when its sensor is;
    ``flipped_bits``: of the weights, in its memory, from the start."""

    radio: Radio | Cell
    bundle: Bundle
    period_s: float
    start_s: float
    end_s: float
    report_s: float = 1.0
    budget: Budget | None = None
    stuck: tuple[SensorFault, ...] = ()
    flipped_bits: int = 0

    def __post_init__(self) -> None:
        require(self.period_s > 0, "period_s", f"{self.period_s} s is not above 0")
        require(0 <= self.start_s < self.end_s < math.inf, "start_s", f"{self.start_s} s is not in 0 to {self.end_s} s")

    @property
    def samples(self) -> int:
        """How many it takes."""
        return math.ceil((self.end_s - self.start_s) / self.period_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """A device that sends one record at each of ``times_s``, in order, or where that does not fit the bare payload."""

    radio: Radio | Cell
    times_s: tuple[float, ...]
    end_s: float

    @property
    def opaque_bytes(self) -> int | None:
        """Size of a payload that is too small for a frame of the runtime; None where it is not."""
        filled = self.radio.filled_bytes if isinstance(self.radio, Radio) else None
        return filled if filled is not None and filled < SMALLEST_BYTES else None


Job = Inferring | Reporting


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a device did. ``created`` counts its records, tombstones among them; ``made_s``: when each of the others was
    made, by its number, and ``gone_s`` when it was given up, if it was. ``pending``: records not acked.

    ``summary`` is that of the session and ``budget`` what it was held to, None where nothing is inferred.
    """

    frames: tuple[Frame, ...]
    received: tuple[bool, ...]
    arrivals: tuple[Arrival, ...]
    created: int
    made_s: dict[int, float]
    gone_s: dict[int, float]
    duplicates: int
    pending: int
    dropped: int
    resent: int
    content_bytes: int
    radio_mj: float
    worst_hour_share: float | None
    summary: SessionSummary | None = None
    budget: Budget | None = None


def live(job: Job, judge: Judge) -> Day:
    """Play a device; raises what loading its bundle raises, BudgetError where not even the bare host fits."""
    if isinstance(job, Inferring):
        return _infer(job, _Device(job.radio, judge, job.start_s))
    device = _Device(job.radio, judge, 0.0)
    return _report(job, device) if job.opaque_bytes is None else _send(job, device, job.opaque_bytes)


class _Diary(Spool):
    """A spool in memory that notes when records were made, and when they were given up."""

    def __init__(self, clock: VirtualClock, random: Random) -> None:
        super().__init__(None, clock=clock, randbits=random.getrandbits)
        self.made_s: dict[int, float] = {}
        self.gone_s: dict[int, float] = {}
        self._now_s = clock.now_s

    def append(self, record: Record) -> int:
        seq = super().append(record)
        self.made_s[seq] = self._now_s()
        return seq

    def drop(self, keys: Iterable[Key], reason: LossReason) -> None:
        given_up = list(keys)
        super().drop(given_up, reason)
        self.gone_s.update((key.seq, self._now_s()) for key in given_up)


class _Endless(Telemetry):
    """Of a device that goes on when the simulation ends: it does not say goodbye."""

    def event(self, event: EventRecord) -> None:
        if event.event is not Event.STOP:
            super().event(event)


class _Device:
    """The parts that both kinds have."""

    def __init__(self, radio: Radio | Cell, judge: Judge, start_s: float) -> None:
        self.clock, self.radio = DozingClock(start_s), radio
        self.link = FieldLink(radio, judge) if isinstance(radio, Radio) else CellLink(radio)
        self.name = f"device-{radio.number}"
        self.far_end = FarEnd(self.name, self.link, self.clock)
        self.random = Random(radio.seed << 32 | radio.number)  # noqa: S311 - simulation, not cryptography
        self.spool = _Diary(self.clock, self.random)

    def uplink(self, *, bundle: str, pace: Pace, budget: Budget | None) -> Uplink:
        return Uplink(self.spool, self.link, self.far_end, bundle=bundle, device=self.name, pace=pace, budget=budget)

    def day(self, traffic: Traffic, summary: SessionSummary | None = None, budget: Budget | None = None) -> Day:
        """What there is to tell."""
        accounts, hours = self.spool.accounts(), None
        if isinstance(self.link, FieldLink):
            limited = [(used_s, band.limit_s_per_hour) for band, used_s in self.link.worst_hours_s().items()]
            hours = max(used_s / limit_s for used_s, limit_s in limited)
        return Day(
            frames=tuple(self.link.frames),
            received=tuple(self.link.received),
            arrivals=tuple(self.far_end.arrivals),
            created=accounts.created,
            made_s=self.spool.made_s,
            gone_s=self.spool.gone_s,
            duplicates=self.far_end.duplicates,
            pending=accounts.pending,
            dropped=sum(accounts.dropped.values()),
            resent=traffic.resent,
            content_bytes=traffic.bytes_sent,
            radio_mj=traffic.energy_uj * 1e-3,
            worst_hour_share=hours,
            summary=summary,
            budget=budget,
        )


def _report(job: Reporting, device: _Device) -> Day:
    clock = device.clock
    uplink = device.uplink(bundle="", pace=_ONCE, budget=None)
    coming = iter((*job.times_s, math.inf))
    next_s = next(coming)
    while True:
        now_s = clock.now_s()
        wake_s = min(next_s, max(now_s + _LEAST_S, min(uplink.next_s(now_s), device.far_end.next_s(now_s))))
        if wake_s >= job.end_s:
            break
        clock.sleep_until(wake_s)
        now_s = clock.now_s()
        while next_s <= now_s:
            device.spool.append(EventRecord(t_ms=int(next_s * 1e3), event=Event.MODE))
            next_s = next(coming)
        uplink.pump(now_s, everything=True)
    with device.spool:
        return device.day(uplink.traffic)


def _send(job: Reporting, device: _Device, size_bytes: int) -> Day:
    """Bare payloads, one after the other as the link allows."""
    traffic, free_s = Traffic(), 0.0
    for due_s in job.times_s:
        free_s = device.link.ready_at_s(size_bytes, max(due_s, free_s))
        if free_s >= job.end_s:
            break
        traffic.energy_uj += device.link.transmit(size_bytes, free_s).energy_uj
        traffic.bytes_sent += size_bytes
    with device.spool:
        return device.day(traffic)


def _infer(job: Inferring, device: _Device) -> Day:
    flips_seed = device.random.getrandbits(32) if job.flipped_bits else 0
    clock, loaded = device.clock, load(job.bundle, job.flipped_bits, flips_seed)
    manifest = loaded.bundle.manifest
    budget = job.budget or manifest.budget
    uplink = device.uplink(bundle=loaded.bundle.digest[:8], pace=Pace(), budget=budget)
    telemetry = _Endless(
        device.spool,
        uplink,
        device.link,
        clock,
        budget=budget,
        window_s=job.report_s,
        seed=device.random.getrandbits(32),
    )
    served = 0

    def count(tally: Tally, mode: Mode) -> None:
        nonlocal served
        served = tally.samples

    def next_sample_s(now_s: float) -> float:
        return job.start_s + served * job.period_s if served < job.samples else job.end_s

    clock.wakers += [next_sample_s, telemetry.next_s, device.far_end.next_s]
    session = Session(
        manifest,
        loaded.executor,
        board=SimulatedBoard(manifest.profile, clock=clock, seed=device.radio.seed, device=device.radio.number),
        source=_sensor(job, device, loaded),
        reporter=telemetry,
        policy=loaded.policy,
        plan=Plan(samples=job.samples, period_s=job.period_s, budget=job.budget, trace=True),
        link_level=device.link.level,
        on_sample=count,
    )
    summary = session.run()
    while clock.now_s() < job.end_s:
        clock.sleep_until(min(clock.now_s() + _LOOK_S, job.end_s))
        telemetry.pump(clock.now_s())
    with device.spool:
        return device.day(uplink.traffic, summary, budget)


class _Turned:
    """A source that begins in the middle and goes round: devices of a group see different samples at a time."""

    def __init__(self, source: Source, first: int) -> None:
        self.label, self._source, self._first = source.label, source, first

    def __iter__(self) -> Iterator[Sample]:
        return islice(chain(self._source, self._source), self._first, self._first + len(self))

    def __len__(self) -> int:
        return len(self._source)


def _sensor(job: Inferring, device: _Device, loaded: Loaded) -> Source:
    source: Source = _Turned(loaded.source, device.random.randrange(len(loaded.source)))
    for fault in job.stuck:
        source = Disturbed(source, fault, loaded.bundle.manifest.input, device.clock, device.radio.seed)
    return source


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle and what was made of it."""

    bundle: Bundle
    executor: Executor
    policy: Policy | None
    source: Source


_KEPT = 8
_loaded: dict[tuple[str, int, int], Loaded] = {}
"""Compiled once a process: neither graphs nor policy remember anything between calls."""


def load(bundle: Bundle, flipped_bits: int = 0, seed: int = 0) -> Loaded:
    """A bundle made ready to run, with so many bits of its weights flipped; raises what its graphs raise."""
    key = bundle.digest, flipped_bits, seed
    if key not in _loaded:
        if len(_loaded) >= _KEPT:
            _loaded.clear()
        held = BitFlips(bits=flipped_bits).in_memory(bundle, seed) if flipped_bits else bundle
        executor = Executor(held)
        policy = Policy.of(held, executor.variant.format)
        source = BundleSource.open(held, Address.parse("bundle", ("bundle",)))
        _loaded[key] = Loaded(held, executor, policy, source)
    return _loaded[key]
