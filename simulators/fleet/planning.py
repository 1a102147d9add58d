"""Which reporting interval, way to send and configuration a fleet can afford, and what keeps it from more.

For each way to send and each configuration the shortest of the round intervals is sought that law, battery and
delivery leave. Law and battery are formulas; what collisions and distance take is found by running the engine on short
horizons (see the links), so it has an error, and the lower end of it has to meet the goal.

Of the plans that meet all goals the one with the shortest interval is recommended, of those the most accurate, of
those the one whose battery lasts longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from simulators.fleet.planning_case import Case, assessed, compute_limits, intervals, rank
from simulators.fleet.planning_nearest import nearest
from simulators.fleet.planning_terms import (
    Cause,
    Configuration,
    Device,
    Goals,
    Inference,
    Limit,
    Link,
    Plan,
    Planning,
    Refused,
)

_LONGER = 1  # steps beyond a way's shortest interval that are weighed as alternatives


def plan(link: Link, device: Device, goals: Goals) -> Planning:
    """The plan for a fleet. Goals that cannot be met raise nothing: ``nearest`` says what would have to give."""
    cases = list(_cases(link, device))
    plans, refused = assessed(cases, goals)
    best = min(plans, key=rank, default=None)
    chosen = None if best is None else best.configuration
    shortest = tuple(one for one in plans if one.configuration == chosen)
    return Planning(
        goals=goals,
        device=device,
        ways=tuple(link.ways()),
        classes=tuple(link.classes()),
        shortest=shortest,
        recommended=best,
        others=_others([case for case in cases if case.configuration == chosen], goals, shortest),
        refused=_merged(refused, len(device.configurations)),
        inferences=() if best is None else tuple(_inference(one, best, device, goals) for one in device.configurations),
        nearest=nearest(cases, goals) if best is None else (),
    )


def _cases(link: Link, device: Device) -> Iterator[Case]:
    for way in link.ways():
        for configuration in device.configurations or (None,):
            yield Case(link, way, device, configuration)


def _others(cases: Sequence[Case], goals: Goals, shortest: Sequence[Plan]) -> tuple[Plan, ...]:
    """Plans that meet the goals and that no other beats: each way's shortest, and the next longer ones."""
    found = list(shortest)
    for one in shortest:
        case = next(case for case in cases if case.way == one.way)
        later = [interval_s for interval_s in intervals(goals) if interval_s > one.interval_s][:_LONGER]
        found += [case.at(interval_s) for interval_s in later]
    unbeaten = [one for one in found if not any(_beats(other, one) for other in found)]
    return tuple(sorted(unbeaten, key=lambda one: (one.interval_s, -one.years)))


def _merged(refused: Sequence[Refused], configurations: int) -> tuple[Refused, ...]:
    """What is out with every configuration for one cause is said once."""
    merged: list[Refused] = []
    for one in refused:
        alike = [other for other in refused if (other.way, other.cause) == (one.way, one.cause)]
        whole = replace(one, configuration=None) if len(alike) == configurations else one
        if not any(
            (other.way, other.cause, other.configuration) == (whole.way, whole.cause, whole.configuration)
            for other in merged
        ):
            merged.append(whole)
    return tuple(merged)


def _beats(one: Plan, other: Plan) -> bool:
    """Nowhere worse and somewhere better; deliveries are told apart to a thousandth."""
    mine = (-one.interval_s, one.years, round(one.delivery.share, 3))
    theirs = (-other.interval_s, other.years, round(other.delivery.share, 3))
    return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def _inference(one: Configuration, best: Plan, device: Device, goals: Goals) -> Inference:
    """How often a configuration may run beside the reports of the plan."""
    limits = compute_limits(one, device)
    left_mw = device.allowed_mw(goals.years) - device.base_mw - best.radio_mw
    if left_mw <= 0:
        return Inference(configuration=one, limits=limits, every_s=None, cause=Cause.BATTERY)
    limits += (Limit(cause=Cause.BATTERY, interval_s=one.energy_uj.value * 1e-3 / left_mw),)
    longest = max(limits, key=lambda limit: limit.interval_s)
    return Inference(configuration=one, limits=limits, every_s=longest.interval_s, cause=longest.cause)
