"""Why a board is slower than rated: a schedule of phases, and heat.

`ThrottleSchedule` is an experiment's script: from this second on the board takes that much longer. `ThermalModel` is
physics in its smallest form, one resistance and one capacity between the processor and the air, with the hysteresis
that boards use to lower their clock and raise it again. Both are values; nothing here keeps time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass

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
    """First-order heating: at a constant power the temperature tends to ambient + resistance * power, exponentially."""

    ambient_c: float
    resistance_k_per_w: float
    time_constant_s: float
    throttle_c: float
    recover_c: float
    throttled_slowdown: float

    def __post_init__(self) -> None:
        require(self.time_constant_s > 0, "time_constant_s", "must be above 0")
        require(self.recover_c < self.throttle_c, "recover_c", "must be below throttle_c")
        require(self.throttled_slowdown >= 1, "throttled_slowdown", "must be at least 1")

    def after(self, temperature_c: float, power_mw: float, seconds: float) -> float:
        """Temperature after that many seconds at a constant power: exact, whatever the step."""
        settled_c = self.settled_c(power_mw)
        return settled_c + (temperature_c - settled_c) * math.exp(-seconds / self.time_constant_s)

    def settled_c(self, power_mw: float) -> float:
        """Temperature in the long run."""
        return self.ambient_c + self.resistance_k_per_w * power_mw * 1e-3

    def throttles(self, temperature_c: float, *, throttled: bool) -> bool:
        """Whether the clock is lowered now, given whether it was."""
        return temperature_c >= (self.recover_c if throttled else self.throttle_c)


def thermal_model(section: Mapping[str, float]) -> ThermalModel | None:
    """The model of a snapshot's ``thermal`` section; None when the profile knows nothing of heat."""
    return ThermalModel(**section) if section else None
