"""A simulated board: the work is really done, what it takes is modelled, and time is virtual.

The result of an inference is therefore exact, and its latency and energy are those of the cost estimate times the
board's present slowdown times a random factor. Every figure is labelled simulated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import TypeVar

from simulators.throttle import Phase, ThrottleSchedule, thermal_model
from tamiyo_runtime.contracts.cost import Cost, Source
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.meters import BoardStatus, Clock, Usage, VirtualClock

T = TypeVar("T")


class SimulatedBoard:
    """The device of a profile snapshot on a virtual clock; implements `tamiyo_runtime.meters.Board`.

    latency = estimate * slowdown * jitter, where slowdown is that of ``schedule`` when the inference begins, times the
    thermal model's while the board is hot, and jitter is log-normal with median 1, cut off at the profile's
    ``jitter_max`` both ways. Energy takes the same factors: power is constant while the board computes. A snapshot
    without a ``simulation`` section makes a board without jitter. The generator is the board's own: one seed, one
    history.
    """

    def __init__(
        self,
        snapshot: ProfileSnapshot,
        *,
        clock: VirtualClock,
        schedule: ThrottleSchedule | None = None,
        seed: int = 0,
    ) -> None:
        simulation: Mapping[str, float] = snapshot.extra.get("simulation") or {}
        self.label = f"{snapshot.id} (simulated)"
        self.clock: Clock = clock
        self._clock = clock
        self._snapshot = snapshot
        self._schedule = schedule or ThrottleSchedule()
        self._random = random.Random(seed)  # noqa: S311 - simulation, not cryptography
        self._sigma = simulation.get("jitter_sigma", 0.0)
        self._bound = math.log(simulation.get("jitter_max", 1.0))
        self._thermal = thermal_model(snapshot.extra.get("thermal") or {})
        self._hot = False
        self._temperature_c = self._thermal.settled_c(snapshot.idle_mw) if self._thermal else None
        self._heated_until_s = clock.now_s()
        self._factor, self._lapped_ms = 1.0, 0.0

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work, then let the modelled time pass: that of its laps, or of all of it when it has none.

        Work that raises takes no time.
        """
        factor = self._factor = self.status().slowdown * self._jitter()
        self._lapped_ms = 0.0
        result = work()
        done_ms = self._lapped_ms or cost.latency_ms.value
        latency_ms = done_ms * factor
        self._clock.advance(latency_ms * 1e-3)
        self._heat(self._snapshot.active_mw)
        share = done_ms / cost.latency_ms.value if cost.latency_ms.value else 1.0
        usage = Usage(latency_ms, cost.energy_uj.value * share * factor, Source.SIMULATED, Source.SIMULATED)
        return result, usage

    def lap(self, expected_ms: float) -> float:
        """A part of the work is done; how long that, and what came before, takes on this board today."""
        self._lapped_ms += expected_ms
        return self._lapped_ms * self._factor

    def status(self) -> BoardStatus:
        """State now; the temperature is None when the profile knows nothing of heat."""
        self._heat(self._snapshot.idle_mw)
        slowdown = self.phase().slowdown
        if self._hot and self._thermal:
            slowdown *= self._thermal.throttled_slowdown
        return BoardStatus(slowdown=slowdown, temperature_c=self._temperature_c, throttled=slowdown > 1)

    def phase(self) -> Phase:
        """The phase of the schedule now."""
        return self._schedule.at(self._clock.now_s())

    def _jitter(self) -> float:
        return math.exp(min(max(self._random.gauss(0.0, self._sigma), -self._bound), self._bound))

    def _heat(self, power_mw: float) -> None:
        """Account for the time since the last call, spent at that power."""
        now_s = self._clock.now_s()
        seconds, self._heated_until_s = now_s - self._heated_until_s, now_s
        if self._thermal and self._temperature_c is not None:
            self._temperature_c = self._thermal.after(self._temperature_c, power_mw, seconds)
            self._hot = self._thermal.throttles(self._temperature_c, throttled=self._hot)
