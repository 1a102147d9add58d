"""Time, work and what work costs: the ports between the runtime's core and a board, real or simulated.

The core never asks the operating system for the time. It gets a `Clock` and a `Board`; a real board times the work and
estimates its energy from the profile, a simulated one advances a virtual clock by what its model says. Both
say where each figure comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tamiyo_runtime.contracts.cost import Cost, Source
from tamiyo_runtime.contracts.profile import ProfileSnapshot

T = TypeVar("T")


class Clock(Protocol):
    """Monotonic seconds."""

    def now_s(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def sleep_until(self, when_s: float) -> None:
        """Return at ``when_s`` or at once when that has passed."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    def sleep_until(self, when_s: float) -> None:
        """Sleep in real time."""
        delay = when_s - time.monotonic()
        if delay > 0:
            time.sleep(delay)


class VirtualClock:
    """A clock that only moves when told: time passes as fast as the work that fills it."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward; raises ValueError on a negative step."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        self._now_s += seconds

    def sleep_until(self, when_s: float) -> None:
        """Jump to ``when_s`` if that lies ahead."""
        self._now_s = max(self._now_s, when_s)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one inference took, and where each figure comes from."""

    latency_ms: float
    energy_uj: float
    latency_source: Source
    energy_source: Source


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """State of the board between inferences. ``slowdown`` multiplies rated latencies (1.0 = rated speed)."""

    slowdown: float
    temperature_c: float | None
    throttled: bool


class Board(Protocol):
    """A device that does work. ``label`` is printed beside every figure that comes from it."""

    label: str
    clock: Clock

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work, whose expected cost on the profile is ``cost``; return its result and what it took."""

    def status(self) -> BoardStatus:
        """State of the board now."""


class HostBoard:
    """The machine this runs on: latency is measured, energy estimated as active power times latency."""

    def __init__(self, profile: ProfileSnapshot) -> None:
        self.label = f"{profile.id} (this machine, energy estimated from the profile)"
        self.clock: Clock = MonotonicClock()
        self._active_mw = profile.active_mw
        self._status = BoardStatus(slowdown=1.0, temperature_c=None, throttled=False)

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work and time it."""
        started_ns = time.perf_counter_ns()
        result = work()
        latency_ms = (time.perf_counter_ns() - started_ns) * 1e-6
        usage = Usage(latency_ms, latency_ms * self._active_mw, Source.MEASURED, Source.ANALYTIC)
        return result, usage

    def status(self) -> BoardStatus:
        """Rated speed: this board has no meter that says otherwise."""
        return self._status
