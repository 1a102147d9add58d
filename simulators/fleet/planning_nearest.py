"""What would have to give where no plan meets the goals: each goal alone, all others met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulators.fleet.planning_case import Case, accuracy_of, assessed, intervals, rank
from simulators.fleet.planning_terms import Goals, Nearest, Plan


def nearest(cases: Sequence[Case], goals: Goals) -> tuple[Nearest, ...]:
    """Goals that would be enough to change, each with the plan that then is there; empty where two have to give."""
    found = [_years(cases, goals), _delivery(cases, goals)]
    if goals.interval_s is not None:
        found.append(_interval(cases, replace(goals, interval_s=None)))
    if goals.accuracy:
        found.append(_accuracy(cases, replace(goals, accuracy=0.0)))
    return tuple(one for one in found if one is not None)


def _years(cases: Sequence[Case], goals: Goals) -> Nearest | None:
    """The longest life at the longest interval."""
    plans = [one for one in _longest(cases, goals) if one.delivery.least >= goals.delivery]
    if not plans:
        return None
    best = max(plans, key=lambda one: one.years)
    return Nearest(goal="years", to=best.years, plan=best)


def _delivery(cases: Sequence[Case], goals: Goals) -> Nearest | None:
    """What arrives at the longest interval."""
    plans = [one for one in _longest(cases, goals) if one.years >= goals.years]
    if not plans:
        return None
    best = max(plans, key=lambda one: one.delivery.least)
    if not best.delivery.least:
        return None
    return Nearest(goal="delivery", to=best.delivery.least, plan=best)


def _longest(cases: Sequence[Case], goals: Goals) -> list[Plan]:
    """Every case at the longest interval there is to choose, where that is legal and accurate enough."""
    interval_s = intervals(goals)[-1]
    return [
        case.at(interval_s)
        for case in cases
        if case.way.refused is None
        and case.unfit(goals) is None
        and all(limit.interval_s <= interval_s for limit in case.limits())
    ]


def _interval(cases: Sequence[Case], goals: Goals) -> Nearest | None:
    """The shortest that meets the others."""
    best = min(assessed(cases, goals)[0], key=rank, default=None)
    return None if best is None else Nearest(goal="interval_s", to=best.interval_s, plan=best)


def _accuracy(cases: Sequence[Case], goals: Goals) -> Nearest | None:
    """The most accurate configuration that meets the others."""
    best = max(assessed(cases, goals)[0], key=accuracy_of, default=None)
    return None if best is None else Nearest(goal="accuracy", to=accuracy_of(best), plan=best)
