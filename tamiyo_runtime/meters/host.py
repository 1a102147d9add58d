"""The machine this runs on, as a board: latency is measured; energy too, where there is a meter.

Its state is looked up in the system's files twice a second, between inferences; in between, `status` compares two
numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tamiyo_runtime.contracts.cost import Cost, Source
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.meters.attribution import Total, attribution
from tamiyo_runtime.meters.clock import Clock, MonotonicClock
from tamiyo_runtime.meters.found import Meters
from tamiyo_runtime.meters.ports import Board, BoardStatus, PowerMeter, Usage

T = TypeVar("T")
REFRESH_S = 0.5
_RATED = BoardStatus(slowdown=1.0, temperature_c=None, throttled=False)


class HostBoard:
    """Without a meter of power: energy is the profile's active power times the processor time of the inference.

    For the rest of its latency, as when something else had the processor, the board is taken to draw what it draws
    while waiting.
    """

    def __init__(self, profile: ProfileSnapshot, meters: Meters | None = None, *, clock: Clock | None = None) -> None:
        """``meters`` None stands for none at all: the board is then always at its rated speed."""
        self.label = f"{profile.id} (this machine, energy estimated from the profile)"
        self.clock: Clock = clock or MonotonicClock()
        self.status = status_by(meters or Meters(), self.clock.now_s if clock else time.monotonic)
        self._busy_mw, self._idle_mw = profile.active_mw - profile.idle_mw, profile.idle_mw
        self._started_ns = 0

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work and time it."""
        busy_ns = time.thread_time_ns()
        started_ns = self._started_ns = time.perf_counter_ns()
        result = work()
        latency_ms = (time.perf_counter_ns() - started_ns) * 1e-6
        busy_ms = (time.thread_time_ns() - busy_ns) * 1e-6  # the clocks' own calls are in it
        energy_uj = min(busy_ms, latency_ms) * self._busy_mw + latency_ms * self._idle_mw
        return result, Usage(latency_ms, energy_uj, Source.MEASURED, Source.ANALYTIC)

    def lap(self, expected_ms: float) -> float:
        """Time since the work began; what was expected does not matter here."""
        return (time.perf_counter_ns() - self._started_ns) * 1e-6


class MeteredBoard:
    """With a meter of power: energy is measured as `attribution` says, and estimated until and unless it can tell.

    ``total``: what the whole board took, pauses included, since the first `status`. ``method``: how, in words.
    """

    def __init__(
        self,
        profile: ProfileSnapshot,
        meters: Meters,
        meter: PowerMeter,
        *,
        clock: Clock | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._energy = attribution(meter)
        self.total = Total(meter)
        self.label = f"{profile.id} (this machine, energy by {meter.label})"
        self.method = f"{meter.label}, {meter.scope}: {self._energy.method}"
        self.clock: Clock = clock or MonotonicClock()
        now_s = self.clock.now_s if clock else time.monotonic
        self.status = status_by(meters, now_s, lambda: self.total.update(now_s()))
        self._active_mw = profile.active_mw
        self._now_ns = now_ns
        self._started_ns = 0

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work and time it; the meter is read outside of that time."""
        now_ns = self._now_ns
        self._energy.before(cost.latency_ms.value)
        started_ns = self._started_ns = now_ns()
        result = work()
        ended_ns = now_ns()
        latency_ms = (ended_ns - started_ns) * 1e-6
        energy_uj = self._energy.after(ended_ns, latency_ms)
        if energy_uj is None:
            return result, Usage(latency_ms, latency_ms * self._active_mw, Source.MEASURED, Source.ANALYTIC)
        return result, Usage(latency_ms, energy_uj, Source.MEASURED, Source.MEASURED)

    def lap(self, expected_ms: float) -> float:
        """Time since the work began; what was expected does not matter here."""
        return (self._now_ns() - self._started_ns) * 1e-6


def host_board(profile: ProfileSnapshot, meters: Meters, *, clock: Clock | None = None) -> Board:
    """The board that suits the meters found."""
    if meters.power is None:
        return HostBoard(profile, meters, clock=clock)
    return MeteredBoard(profile, meters, meters.power, clock=clock)


def status_by(
    meters: Meters, now_s: Callable[[], float], also: Callable[[], None] | None = None
) -> Callable[[], BoardStatus]:
    """A function that tells the state of a machine, at most half a second old. It is called for every sample.

    ``also`` is called as often as the meters are read.
    """
    if meters == Meters(power=meters.power, problems=meters.problems) and also is None:
        return lambda: _RATED
    next_s, latest = float("-inf"), _RATED

    def status() -> BoardStatus:
        nonlocal next_s, latest
        if now_s() >= next_s:
            latest = read_status(meters)
            if also is not None:
                also()
            next_s = now_s() + REFRESH_S
        return latest

    return status


def read_status(meters: Meters) -> BoardStatus:
    """Ask all meters. What is not known is taken for the best: rated speed, no temperature, not throttled."""
    flags = meters.throttle.read() if meters.throttle else None
    held = flags is not None and flags.slows
    slowdown = meters.speed.read_slowdown(throttled=held) if meters.speed else None
    memory = meters.memory.read() if meters.memory else None
    return BoardStatus(
        slowdown=slowdown if slowdown is not None else 1.0,
        temperature_c=meters.thermometer.read_c() if meters.thermometer else None,
        throttled=held or (slowdown is not None and slowdown > 1.0),
        memory_bytes=memory.available_bytes if memory else None,
        battery=meters.battery.read_share() if meters.battery else None,
    )
