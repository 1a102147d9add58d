"""Why a board is slower than rated: a schedule of phases, and heat.

`ThrottleSchedule` is an experiment's script: from this second on the board takes that much longer. `ThermalModel` is
physics in its smallest form, one resistance and one capacity between the processor and the air, and a governor that
looks at the temperature once in a while: from `throttle_c` on it takes the clock down by a step of the board's
`simulators.points.Ladder`, below `recover_c` up by one. Both are values; nothing here keeps time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from simulators.points import Ladder
from tamiyo_runtime.contracts.document import require, require_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """From ``start_s`` until the next phase, latencies are multiplied by ``slowdown``."""

    start_s: float
    slowdown: float
    label: str

    def __post_init__(self) -> None:
        require_finite(start_s=self.start_s, slowdown=self.slowdown)
        require(self.slowdown > 0, "slowdown", f"must be above 0, got {self.slowdown}")


@dataclass(frozen=True, slots=True)
class ThrottleSchedule:
    """Phases in order of their start; before the first one the board runs at its rated speed."""

    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        starts = [phase.start_s for phase in self.phases]
        require(starts == sorted(set(starts)), "phases", f"starts must rise, got {starts}")

    def at(self, now_s: float) -> Phase:
        """The phase that holds at ``now_s``."""
        index = bisect.bisect_right(self.phases, now_s, key=lambda phase: phase.start_s)
        return self.phases[index - 1] if index else Phase(start_s=0.0, slowdown=1.0, label="rated")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalModel:
    """First-order heating: at a constant power the temperature tends to ambient + resistance * power, exponentially.

    ``step_s``: time between two looks of the governor. ``throttled_slowdown`` is for boards of no known points.
    """

    ambient_c: float
    resistance_k_per_w: float
    time_constant_s: float
    throttle_c: float
    recover_c: float
    throttled_slowdown: float
    step_s: float = 1.0

    def __post_init__(self) -> None:
        require_finite(
            ambient_c=self.ambient_c,
            resistance_k_per_w=self.resistance_k_per_w,
            time_constant_s=self.time_constant_s,
            throttle_c=self.throttle_c,
            recover_c=self.recover_c,
            throttled_slowdown=self.throttled_slowdown,
            step_s=self.step_s,
        )
        require(self.resistance_k_per_w >= 0, "resistance_k_per_w", "must not be negative")
        require(self.time_constant_s > 0, "time_constant_s", "must be above 0")
        require(self.recover_c < self.throttle_c, "recover_c", "must be below throttle_c")
        require(self.throttled_slowdown >= 1, "throttled_slowdown", "must be at least 1")
        require(self.step_s > 0, "step_s", "must be above 0")

    def after(self, temperature_c: float, power_mw: float, seconds: float) -> float:
        """Temperature after that many seconds at a constant power: exact, whatever the step."""
        settled_c = self.settled_c(power_mw)
        return settled_c + (temperature_c - settled_c) * math.exp(-seconds / self.time_constant_s)

    def settled_c(self, power_mw: float) -> float:
        """Temperature in the long run."""
        return self.ambient_c + self.resistance_k_per_w * power_mw * 1e-3

    def moves(self, temperature_c: float, index: int, top: int) -> int:
        """-1 when the governor takes the clock down now, 1 when up, else 0."""
        if temperature_c >= self.throttle_c:
            return -1 if index > 0 else 0
        return 1 if temperature_c < self.recover_c and index < top else 0


class Heat(NamedTuple):
    """Temperature, step of the ladder, and time since the governor last looked."""

    temperature_c: float
    step: int
    since_s: float = 0.0


def heated(model: ThermalModel, ladder: Ladder, heat: Heat, seconds: float, *, busy: bool) -> Heat:
    """The board after it has computed, or waited, for so long; the clock changes on the way as the governor has it."""
    temperature_c, index, since_s = heat
    while seconds > 0:
        at = ladder.steps[index]
        power_mw = at.active_mw if busy else at.idle_mw
        left_s = max(model.step_s - since_s, 0.0)
        ends = (temperature_c, model.settled_c(power_mw))  # the way between them is monotonic
        if seconds < left_s or not any(model.moves(end, index, ladder.top) for end in ends):
            since_s = (since_s + seconds) % model.step_s
            return Heat(model.after(temperature_c, power_mw, seconds), index, since_s)
        temperature_c = model.after(temperature_c, power_mw, left_s)
        index += model.moves(temperature_c, index, ladder.top)
        seconds, since_s = seconds - left_s, 0.0
    return Heat(temperature_c, index, since_s)


def thermal_model(section: Mapping[str, float]) -> ThermalModel | None:
    """The model of a snapshot's ``thermal`` section; None when the profile knows nothing of heat."""
    return ThermalModel(**section) if section else None
