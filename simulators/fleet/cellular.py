"""Many devices on a cellular link, message by message: what becomes of each, how long it takes, what the radio spends.

The channel is that of `simulators.cellular`, looked at only when a message comes up. Outages and shadowing are Markov
chains, so what they are k steps after they were last looked at follows from the chains' laws for k steps:

    P(bad) = share + (1 - begins - ends)^k (bad before - share)        shadow = rho^k before + sqrt(1 - rho^2k) sigma n

A message waits for the end of an outage, then for a promotion if the radio sleeps, then as `latency` has it, at the
signal of the moment it was sent. Out of reach it is given up, at no cost. Other devices are not met.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.cellular.channel import Draw, Fleet, fleet, start
from simulators.cellular.latency import Plan, plan
from simulators.cellular.presets import preset
from simulators.cellular.streams import Words, normals, uniforms, words_at
from simulators.fleet.faults import faults_of
from simulators.fleet.kinds import CellularKind
from simulators.fleet.percentiles import percentiles
from simulators.fleet.placing import placed
from simulators.fleet.radio_states import Spending
from simulators.fleet.result import Fate
from simulators.fleet.scenario import Scenario
from simulators.fleet.timing import HOUR_S, Timing
from simulators.lorawan.reception import Bools
from simulators.lorawan.scenario import Pattern
from simulators.lorawan.streams import Floats, Ints
from tamiyo_runtime.contracts.errors import SchemaError

MESSAGES_AT_ONCE = 1_000_000
NEAREST_M = 10.0
_DRAWS = 4  # words of the stream of transfers that a message takes


@dataclass(frozen=True, slots=True, kw_only=True)
class CellularRun:
    """Columns of a group's devices, and its packets by hour."""

    columns: dict[str, NDArray[Any]]
    sent: Ints
    received: Ints


def timing_of(scenario: Scenario, number: int) -> Timing:
    """When messages of a group come up."""
    group = scenario.devices[number]
    numbers = scenario.numbers_of(number)
    work, schedule = group.workload, scenario.schedule
    return Timing(
        seed=scenario.seed,
        numbers=numbers,
        period_s=np.full(group.count, work.report_period_s),
        jitter_s=np.full(group.count, work.jitter_s),
        poisson=np.full(group.count, work.pattern is Pattern.POISSON),
        duration_s=scenario.duration_s,
        active_h=None if schedule is None else schedule.hours,
        drifts=faults_of(scenario, numbers, np.full(group.count, number)).drifts,
    )


def run_cellular(
    scenario: Scenario,
    number: int,
    *,
    on_share: Callable[[float], None] | None = None,
    messages_at_once: int = MESSAGES_AT_ONCE,
) -> CellularRun:
    """A group's run, so many messages at a time; raises SchemaError for a place outside the path-loss model."""
    timing = timing_of(scenario, number)
    count = timing.numbers.size
    height = max(1, int(messages_at_once / max(1.0, timing.expected() / count)))
    parts = []
    for top in range(0, count, height):
        parts.append(_devices(scenario, number, _rows(timing, slice(top, top + height))))
        if on_share is not None:
            on_share(min(top + height, count) / count)
    return CellularRun(
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        sent=sum((part.sent for part in parts), np.zeros_like(parts[0].sent)),
        received=sum((part.received for part in parts), np.zeros_like(parts[0].received)),
    )


def _rows(timing: Timing, part: slice) -> Timing:
    return replace(
        timing,
        numbers=timing.numbers[part],
        period_s=timing.period_s[part],
        jitter_s=timing.jitter_s[part],
        poisson=timing.poisson[part],
        drifts=tuple(replace(drift, rate=drift.rate[part]) for drift in timing.drifts),
    )


def _devices(scenario: Scenario, number: int, timing: Timing) -> CellularRun:
    group = scenario.devices[number]
    place, devices = _place(scenario, number, timing.numbers)
    network = devices.preset
    device, _, when = timing.between(0.0, scenario.duration_s)
    silent = faults_of(scenario, timing.numbers, np.full(timing.numbers.size, number)).silent(device, when)
    withheld = np.bincount(device[silent], minlength=timing.numbers.size)
    device, when = device[~silent], when[~silent]
    transfer = plan(network.access, network.ladder, group.workload.payload_bytes + network.overhead_bytes)
    megabits = 8e-6 * (group.workload.payload_bytes + network.overhead_bytes)
    fate, latency_ms, spending, air_s = _transfers(devices, transfer, megabits, device, when)
    spending.end(scenario.duration_s)
    hours = max(1, math.ceil(scenario.duration_s / HOUR_S))
    hour = np.minimum((when / HOUR_S).astype(np.int64), hours - 1)
    arrived = fate == Fate.RECEIVED
    size = timing.numbers.size
    by_fate = {one: np.bincount(device[fate == one], minlength=size) for one in Fate}
    packets = np.bincount(device, minlength=size)
    p50, p95, p99 = percentiles(device[arrived], latency_ms[arrived], size)
    none = np.full(size, -1)
    return CellularRun(
        columns={
            "group": np.full(size, number),
            **place,
            "gateway": none,
            "signal_db": devices.mean_db.astype(np.float64),
            "data_rate": none,
            "messages": packets,
            "withheld": withheld,
            "packets": packets,
            "delivered": by_fate[Fate.RECEIVED],
            "delivered_other": none,
            "acknowledged": none,
            **{one.name.lower(): counts for one, counts in by_fate.items()},
            "airtime_s": air_s,
            "busiest_hour_s": np.full(size, np.nan),
            "latency_p50_ms": p50,
            "latency_p95_ms": p95,
            "latency_p99_ms": p99,
            **spending.columns(),
        },
        sent=np.bincount(hour, minlength=hours),
        received=np.bincount(hour[arrived], minlength=hours),
    )


def _place(scenario: Scenario, number: int, numbers: Ints) -> tuple[dict[str, NDArray[Any]], Fleet]:
    """Coordinates and distances, in whole metres, and the fleet that stands there."""
    group = scenario.devices[number]
    kind = group.kind
    assert isinstance(kind, CellularKind)
    network = preset(kind.preset)
    x = y = np.full(numbers.size, np.nan)
    distance_m = np.full(numbers.size, kind.options.get("distance_m", network.site.distance_m))
    if group.placement is not None:
        everyone = scenario.numbers_of(number)
        mine = numbers - everyone[0]
        x, y = (one[mine] for one in placed(scenario, number))
        distance_m = np.maximum(np.round(np.hypot(x, y)), NEAREST_M)
    try:
        devices = fleet(
            network,
            numbers,
            seed=scenario.seed,
            distance_m=distance_m.tolist(),
            speed_m_s=kind.options.get("speed_m_s"),
        )
    except ValueError as exc:
        raise SchemaError(f"devices[{number}].placement", str(exc), hint="bring them nearer to the origin") from exc
    return {"x_m": x, "y_m": y, "distance_m": distance_m}, devices


def _transfers(
    devices: Fleet, transfer: Plan, megabits: float, device: Ints, when: Floats
) -> tuple[NDArray[np.uint8], Floats, Spending, Floats]:
    """Fate and latency of each message; energy and time on the air of each device. All first messages, then seconds."""
    network, count = devices.preset, len(devices)
    fate, latency_ms = np.full(device.size, np.uint8(Fate.NO_COVERAGE)), np.full(device.size, np.nan)
    spending, air_s = Spending.of(network.radio, count), np.zeros(count)
    channel, free_s = Channel.of(devices), np.full(count, -np.inf)
    plan_air_s, block_air_s = np.array(transfer.air_s), np.array(network.ladder.air_s)
    begins = np.searchsorted(device, np.arange(count + 1))
    for turn in range(int(np.diff(begins).max(initial=0))):
        everyone = np.flatnonzero(begins[:-1] + turn < begins[1:])
        now_s = np.maximum(when[begins[everyone] + turn], free_s[everyone])
        covered_s, rungs = channel.look(everyone, turn, now_s)
        some = everyone[rungs > 0]
        begin_s, rung, at = covered_s[rungs > 0], rungs[rungs > 0], begins[some] + turn
        wait, harq = uniforms(_drawn(devices, some, turn, 0))
        core, gap = normals(_drawn(devices, some, turn, 1))
        hit, left = uniforms(_drawn(devices, some, turn, 2))
        gap_ms = network.handover.left_ms(gap, left)
        gap_ms[hit >= np.float32(network.handover.share(devices.speed_m_s))] = 0.0
        connected_s = 1e-3 * (transfer.radio_ms(rung, wait, harq) + gap_ms).astype(np.float64)
        again = np.minimum(transfer.retries(rung, harq), network.access.tries - 1).astype(np.float64)
        sends_s = np.minimum(plan_air_s[rung] + again * block_air_s[rung], connected_s)
        promoted_s = spending.transfer(some, begin_s, connected_s, sends_s, megabits)
        free_s[some] = begin_s + promoted_s + connected_s
        air_s[some] += sends_s
        lost = transfer.lost(rung, harq)
        fate[at] = np.where(lost, np.uint8(Fate.LOST), np.uint8(Fate.RECEIVED))
        latency_ms[at] = 1e3 * (free_s[some] - when[at]) + network.core.delay_ms(core).astype(np.float64)
    return fate, latency_ms, spending, air_s


@dataclass(slots=True, kw_only=True)
class Channel:
    """Outage and shadow of each device when they were last looked at: (devices,) each."""

    devices: Fleet
    step: Floats
    bad: Bools
    shadow_db: Floats

    @classmethod
    def of(cls, devices: Fleet) -> Channel:
        """At the beginning, as the chains have it."""
        cursor = start(devices)
        shadow_db = cursor.shadow_db.astype(np.float64)
        return cls(devices=devices, step=np.zeros(len(devices)), bad=cursor.bad.copy(), shadow_db=shadow_db)

    def look(self, some: Ints, turn: int, now_s: Floats) -> tuple[Floats, NDArray[np.uint8]]:
        """When some devices have coverage, from ``now_s`` on, and their rung of the ladder; 0: out of reach."""
        network, outages = self.devices.preset, self.devices.preset.outages
        chance, length = (one.astype(np.float64) for one in uniforms(_drawn(self.devices, some, turn, 3)))
        places = np.full(some.size, turn)
        innovation = normals(words_at(self.devices.streams[Draw.CHANNEL][some], places))[0].astype(np.float64)
        step = np.floor(now_s / network.step_s)
        passed = np.maximum(step - self.step[some], 0.0)
        kept = (1.0 - outages.begins - outages.ends) ** passed
        bad = chance < outages.share + kept * (self.bad[some] - outages.share)
        lasts = np.ones(some.size)
        if outages.ends < 1:
            lasts += np.floor(np.log1p(-length) / math.log1p(-outages.ends))
        self.step[some], self.bad[some] = np.where(bad, step + lasts, step), False
        decay = self.devices.rho[some].astype(np.float64) ** passed
        sigma_db = self.devices.sigma_db[some].astype(np.float64)
        self.shadow_db[some] = decay * self.shadow_db[some] + np.sqrt(1.0 - decay**2) * sigma_db * innovation
        signal_db = (self.shadow_db[some] + self.devices.mean_db[some]).astype(np.float32)
        return np.where(bad, (step + lasts) * network.step_s, now_s), network.ladder.rung(signal_db)


def _drawn(devices: Fleet, some: Ints, turn: int, word: int) -> Words:
    """A word of the transfer's stream of each device."""
    return words_at(devices.streams[Draw.TRANSFER][some], np.full(some.size, _DRAWS * turn + word))
