"""What happens to a simulated board in the demo: budgets and troubles derived from its bundle's own cost table.

A board first runs at its rated speed with room to spare, then throttles, recovers, and is finally given less energy
than the full network needs. Where the configurations of a bundle cost nearly the same, as on an Edge TPU, no budget
lies between them and the board only gets the quiet stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.plan import Runnable
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.options import tail
from tamiyo_runtime.session import Plan

_MARGIN = Plan().margin
_ROOM = 1.15  # the deadline leaves the full network this much at rated speed
_EASE = 0.98  # of the slowest
_SPREAD = 1.25  # the full network costs at least this many times the bare host, or there is nothing to trade


@dataclass(frozen=True, slots=True)
class Stretch:
    """A phase of the run, for the eye: from ``start_s`` on."""

    start_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """Plan of the session, slowdowns (start_s, factor) of the board, and the names of the phases."""

    plan: Plan
    throttle: tuple[tuple[float, float], ...]
    stretches: tuple[Stretch, ...]

    @property
    def duration_s(self) -> float:
        """Length on the board's clock."""
        return (self.plan.samples or 0) * self.plan.period_s


def scenario_for(runnables: Sequence[Runnable], profile: ProfileSnapshot, *, samples: int, period_s: float) -> Scenario:
    """The scenario of a board of that profile that runs ``samples`` samples, one each ``period_s``."""
    host = runnables[0].cost
    full = max(runnables, key=lambda runnable: (runnable.accuracy or 0, runnable.cost.macs)).cost
    worst = tail(profile)
    duration_s = samples * period_s
    period_ms = period_s * 1e3
    deadline_ms = full.latency_ms.high * worst * _MARGIN * _ROOM
    # The slowest that a configuration about half-way between host and full network can bear: some seeds must go. By
    # then the governor has seen that this board keeps to its estimates.
    between = (host.latency_ms.value + full.latency_ms.value) / 2
    middle = min((r.cost.latency_ms.value for r in runnables), key=lambda value_ms: abs(value_ms - between))
    slowdown = _EASE * deadline_ms / (middle * worst * _MARGIN)
    generous = Budget(
        latency_ms=deadline_ms,
        power_mw=1.5 * slowdown * full.energy_uj.value / period_ms,  # a slow board also takes longer at its power
        energy_burst_uj=30 * full.energy_uj.high * worst,
        airtime_s_per_hour=36.0,
    )
    plan = Plan(samples=samples, period_s=period_s, budget=generous, dwell_s=5 * period_s, trace=True)
    if full.latency_ms.value < _SPREAD * host.latency_ms.value:
        return Scenario(plan, (), (Stretch(0.0, "rated speed"),))
    starts = [0.0, 0.3 * duration_s, 0.55 * duration_s, 0.7 * duration_s]
    scarce = replace(generous, power_mw=(0.45 * full.energy_uj.value + 0.55 * host.energy_uj.value) / period_ms)
    return Scenario(
        replace(plan, schedule=((starts[3], scarce),)),
        ((starts[1], slowdown), (starts[2], 1.0)),
        (
            Stretch(starts[0], "rated speed"),
            Stretch(starts[1], f"board throttles, x{slowdown:.2f}"),
            Stretch(starts[2], "recovered"),
            Stretch(starts[3], "less energy"),
        ),
    )
