"""A simulated board: the work is really done, what it takes is modelled, and time is virtual.

The result of an inference is therefore exact, and its latency and energy are those of the cost estimate at the board's
present clock, times a random factor. Every figure is labelled simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from simulators.faults.clock import true_s
from simulators.faults.outage import Outage, PowerLost, apart
from simulators.jitter import Jitter
from simulators.points import Ladder
from simulators.power_pack import PowerPack
from simulators.throttle import Heat, Phase, ThrottleSchedule, heated, thermal_model
from tamiyo_runtime.contracts.cost import Cost, Source
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.meters import BoardStatus, Clock, Usage, VirtualClock

T = TypeVar("T")
_ROUNDING_S = 1e-6
"""So far into an outage a boot goes on, or rounding might miss it."""


class SimulatedBoard:
    """The device of a profile snapshot on a virtual clock; implements `tamiyo_runtime.meters.Board`.

    latency = (clocked part * stretch of the clock + unclocked part) * slowdown of ``schedule`` * jitter, all as they
    are when the inference begins. ``clock_mhz``: the fastest operating point that it may take, None for the rated one;
    heat takes it down from there. Jitter is log-normal with median 1, cut off at the profile's ``jitter_max`` both
    ways, and drawn at (seed, device, number of the inference). Energy is the estimate times the same factors and the
    power at this clock over the rated one. ``pack``: what feeds it, None for a socket in the wall.

    While it has no power, because the pack is empty or an outage says so, every call raises `PowerLost`.
    """

    def __init__(
        self,
        snapshot: ProfileSnapshot,
        *,
        clock: VirtualClock,
        schedule: ThrottleSchedule | None = None,
        seed: int = 0,
        device: int = 0,
        clock_mhz: float | None = None,
        pack: PowerPack | None = None,
        outages: Sequence[Outage] = (),
    ) -> None:
        """Raises UsageError for a clock that the profile does not name."""
        simulation: Mapping[str, float] = snapshot.extra.get("simulation") or {}
        self.label = f"{snapshot.id} (simulated)"
        self.clock: Clock = clock
        self._clock = clock
        self._snapshot = snapshot
        self._schedule = schedule or ThrottleSchedule()
        sigma, most = simulation.get("jitter_sigma", 0.0), simulation.get("jitter_max", 1.0)
        self._jitter = Jitter(sigma=sigma, most=most, seed=seed, device=device)
        self._ladder = Ladder.of(snapshot, clock_mhz=clock_mhz)
        self._thermal = thermal_model(snapshot.extra.get("thermal") or {})
        settled_c = self._thermal.settled_c(self._ladder.fastest.idle_mw) if self._thermal else math.nan
        self._heat = Heat(settled_c, self._ladder.top)
        self._cell = pack.cell(seed=seed, device=device) if pack is not None else None
        self._outages = apart(outages)
        self._accounted_s = true_s(clock)
        self._fixed_ms, self._factor, self._share, self._lapped_ms = 0.0, 1.0, 1.0, 0.0

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work, then let the modelled time pass: that of its laps, or of all of it when it has none.

        Work that raises takes no time.
        """
        self._account(busy=False)
        step, rated = self._ladder.steps[self._heat.step], self._ladder.steps[self._ladder.rated]
        expected_ms = cost.latency_ms.value
        fixed_ms = min(cost.unclocked_ms, expected_ms)
        stretch = (fixed_ms + (expected_ms - fixed_ms) * step.stretch) / expected_ms if expected_ms else step.stretch
        factor = self._factor = stretch * self.phase().slowdown * self._jitter.next()
        self._lapped_ms = 0.0
        result = work()
        done_ms = self._lapped_ms or expected_ms
        latency_ms = done_ms * factor
        self._clock.advance(latency_ms * 1e-3)
        self._account(busy=True)
        share = done_ms / expected_ms if expected_ms else 1.0
        energy_uj = cost.energy_uj.value * share * factor * (step.active_mw / rated.active_mw)
        return result, Usage(latency_ms, energy_uj, Source.SIMULATED, Source.SIMULATED)

    def lap(self, expected_ms: float) -> float:
        """A part of the work is done; how long that, and what came before, takes on this board today."""
        self._lapped_ms += expected_ms
        return self._lapped_ms * self._factor

    def status(self) -> BoardStatus:
        """State now; the temperature is None when the profile knows nothing of heat, the battery without a pack.

        The slowdown is that of work that is all clocked. A clock that was chosen slows down, and is no throttling.
        """
        self._account(busy=False)
        slowdown = self._ladder.steps[self._heat.step].stretch * self.phase().slowdown
        return BoardStatus(
            slowdown=slowdown,
            temperature_c=self._heat.temperature_c if self._thermal else None,
            throttled=slowdown > self._ladder.fastest.stretch,
            battery=self._cell.share if self._cell is not None else None,
        )

    def phase(self) -> Phase:
        """The phase of the schedule now."""
        return self._schedule.at(true_s(self._clock))

    def power_up(self, lost: PowerLost) -> float:
        """Let the time without power pass, then the boot; the energy that booting takes, uJ.

        The board has cooled meanwhile; what was in its memory is for the caller to forget. A boot that is cut short by
        the next loss of power begins again after it; raises PowerLost when that is for good.
        """
        spent_uj, power_mw = 0.0, self._ladder.fastest.active_mw
        while not lost.for_good:
            self._come_back(lost.back_s)
            begun_s, boot_s = self._accounted_s, lost.boot_s
            if self._outages:
                boot_s = min(boot_s, self._outages[0].at_s - begun_s + _ROUNDING_S)
            self._clock.advance(boot_s)
            try:
                self._account(busy=True)
            except PowerLost as again:
                spent_uj += power_mw * max(again.at_s - begun_s, 0.0) * 1e3
                lost = again
            else:
                return spent_uj + power_mw * lost.boot_s * 1e3
        raise lost

    def _account(self, *, busy: bool) -> None:
        """Account for the time since the last call; raises PowerLost when the power went meanwhile."""
        start_s, now_s = self._accounted_s, true_s(self._clock)
        if now_s > start_s:
            step = self._ladder.steps[self._heat.step]
            if self._thermal:
                self._heat = heated(self._thermal, self._ladder, self._heat, now_s - start_s, busy=busy)
            self._accounted_s = now_s
            if self._cell is not None:
                self._cell.draw(start_s, now_s, step.active_mw if busy else step.idle_mw)
        if self._outages and self._outages[0].at_s <= now_s:
            outage = self._outages.pop(0)
            raise PowerLost(at_s=outage.at_s, back_s=max(outage.back_s, now_s), boot_s=outage.boot_s, why="outage")

    def _come_back(self, back_s: float) -> None:
        """Let time pass without power until then, or until outages that begin meanwhile have ended."""
        while self._outages and self._outages[0].at_s <= back_s:
            back_s = max(back_s, self._outages.pop(0).back_s)
        ahead_s = back_s - true_s(self._clock)
        if ahead_s > 0:
            self._clock.advance(ahead_s)
        now_s = true_s(self._clock)
        off_s = now_s - self._accounted_s
        if off_s > 0:
            if self._thermal:
                self._heat = Heat(self._thermal.after(self._heat.temperature_c, 0.0, off_s), self._ladder.top)
            self._accounted_s = now_s
        if self._cell is not None:
            self._cell.rest(now_s)
