"""A battery that has to last: what it still holds, over the time that is left, is the power it can give on average.

How long a battery has to last is no part of what a policy sees, and a governor knows no charge: both see a power
budget. A `Rationing` makes one of charge and time left, and reviews it on the way, since boards draw more or less than
their profile says and the sun shines or does not. What the budget allows otherwise is never exceeded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.profile import ProfileSnapshot

RESERVE = 0.1
"""Share of a full battery that is kept: no gauge is exact, and boards break down before a cell is empty."""
REVIEWS = 50
"""How often a ration is reviewed in the course of a mission."""
_NEWS = 0.05  # a ration that differs by less from the one in force does not replace it
_LEAST_MW = 1e-6  # a budget is above 0; with this one nothing runs
_BURST = 8.0  # inferences at their worst that a bucket of ours holds at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """``battery_mwh``: what a full battery gives the board; ``hours``: how long it has to last, from the start on.

    ``under_way``: it began before the board lost its power. Then too little charge is no reason not to go on.
    """

    battery_mwh: float
    hours: float
    under_way: bool = False

    def __post_init__(self) -> None:
        for name in ("battery_mwh", "hours"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value > 0, name, f"must be above 0, got {value}")

    def mean_mw(self, elapsed_s: float, charge: float | None) -> float:
        """Mean power that the battery can give to the end, mW.

        ``charge``: share that is left, 0..1; None without a gauge, when it is taken to go down evenly from full.
        """
        left_h = self.hours - elapsed_s / 3600.0
        if charge is None:
            return self.battery_mwh * (1.0 - RESERVE) / self.hours
        return self.battery_mwh * max(0.0, charge - RESERVE) / left_h


def ration_mw(mean_mw: float, profile: ProfileSnapshot) -> float:
    """What of a board's mean power inferences may draw, mW: below 0 when waiting alone takes more.

    An inference's energy is all that the board draws meanwhile. With a share s of the time spent on inferences the
    board draws active s + idle (1 - s) on average, and active s of it is theirs.
    """
    idle, active = profile.idle_mw, profile.active_mw
    return (mean_mw - idle) / (1.0 - idle / active) if idle < active else mean_mw - idle


class Rationing:
    """A mission under way. ``started_s``: when it began, on the clock that `review` is told; ``charge`` as there.

    Raises BudgetError when the battery does not last even if nothing is run, unless the mission is under way.
    """

    def __init__(self, mission: Mission, profile: ProfileSnapshot, *, started_s: float, charge: float | None) -> None:
        self._mission, self._profile, self._started_s = mission, profile, started_s
        self._step_s = mission.hours * 3600.0 / REVIEWS
        self._next_s = started_s + self._step_s
        mean = mission.mean_mw(0.0, charge)
        ration = ration_mw(mean, profile)
        self.ration_mw: float | None = max(ration, _LEAST_MW)
        if ration <= 0 and not mission.under_way:
            raise BudgetError(
                f"the battery does not last {mission.hours:g} h even if nothing is run: waiting takes "
                f"{profile.idle_mw:g} mW, and the battery gives {mean:.3g} mW for so long (a tenth of it is kept)",
                hint="shorten --mission-hours, or correct --battery-mwh; what a harvest brings is not counted before "
                "it has come: a board that lives on one is run without a mission",
            )

    def review(self, now_s: float, charge: float | None) -> bool:
        """Whether the ration has changed; asked as often as one likes. When the mission is over there is none."""
        if now_s < self._next_s or self.ration_mw is None:
            return False
        self._next_s = now_s + self._step_s
        elapsed_s = now_s - self._started_s
        if elapsed_s >= self._mission.hours * 3600.0:
            self.ration_mw = None
            return True
        if charge is None:  # without a gauge, or with one that fails, nothing new is known
            return False
        ration = max(ration_mw(self._mission.mean_mw(elapsed_s, charge), self._profile), _LEAST_MW)
        if abs(ration - self.ration_mw) < _NEWS * self.ration_mw:
            return False
        self.ration_mw = ration
        return True

    def applied(self, budget: Budget, dearest_uj: float) -> Budget:
        """A budget with no more power than the ration. ``dearest_uj``: of one inference at its worst.

        Where the budget knows no energy, the bucket holds the ration of the time from one review to the next.
        """
        if self.ration_mw is None:
            return budget
        if budget.power_mw is not None:
            return replace(budget, power_mw=min(budget.power_mw, self.ration_mw))
        burst_uj = max(self.ration_mw * self._step_s * 1e3, _BURST * dearest_uj)
        return replace(budget, power_mw=self.ration_mw, energy_burst_uj=burst_uj)
