"""One way to send with one configuration: the shortest interval that meets the goals, or why none does."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.fleet.costs import over_latency
from simulators.fleet.planning_terms import (
    INTERVALS_S,
    Cause,
    Configuration,
    Device,
    Goals,
    Limit,
    Link,
    Plan,
    Refused,
    Way,
)

_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Case:
    """One way to send and one configuration, of a device on a link."""

    link: Link
    way: Way
    device: Device
    configuration: Configuration | None

    def at(self, interval_s: float, *, binding: Cause | None = None, limits: tuple[Limit, ...] = ()) -> Plan:
        """What it comes to at an interval, whether or not that meets any goal."""
        every_s = self._every_s(interval_s)
        radio_mw = self.link.radio_mw(self.way, interval_s)
        inference_mw = self._inference_mw(interval_s)
        return Plan(
            way=self.way,
            interval_s=interval_s,
            configuration=self.configuration,
            inference_every_s=every_s,
            radio_mw=radio_mw,
            inference_mw=inference_mw,
            base_mw=self.device.base_mw,
            years=self.device.years(radio_mw + inference_mw + self.device.base_mw),
            delivery=self.link.delivery(self.way, interval_s),
            binding=binding,
            limits=limits,
        )

    def years(self, interval_s: float) -> float:
        """How long the battery lasts."""
        mean_mw = self.link.radio_mw(self.way, interval_s) + self._inference_mw(interval_s) + self.device.base_mw
        return self.device.years(mean_mw)

    def limits(self) -> tuple[Limit, ...]:
        """What holds whatever the goals are."""
        if self.configuration is None or self.device.inference_every_s is not None:
            return self.way.limits
        return self.way.limits + compute_limits(self.configuration, self.device)

    def assess(self, goals: Goals) -> Plan | Refused:
        """The plan of the shortest interval that meets the goals, or why there is none."""
        if self.way.refused is not None:
            return self.way.refused
        unfit = self.unfit(goals)
        if unfit is not None:
            return unfit
        limits = self.limits()
        floor = max(limits, key=lambda limit: limit.interval_s)
        tried = intervals(goals)
        legal = [one for one in tried if one >= floor.interval_s]
        if not legal:
            return self._refused(floor.cause, f"{floor.interval_s:.4g} s is the shortest interval")
        lasting = [one for one in legal if self.years(one) >= goals.years]
        if not lasting:
            years = self.years(tried[-1])
            return self._refused(
                Cause.BATTERY, f"the battery lasts {years:.2g} years at a report every {tried[-1]:g} s"
            )
        if self.years(floor.interval_s) < goals.years:
            battery_s = self._battery_s(goals.years, floor.interval_s, lasting[0])
            limits += (Limit(cause=Cause.BATTERY, interval_s=battery_s),)
        if not self._delivers(lasting[-1], goals):
            return self._undelivered(goals, lasting[-1])
        place = bisect_left(lasting, True, key=lambda one: self._delivers(one, goals))
        interval_s = lasting[place]
        if place:
            limits += (Limit(cause=Cause.COLLISIONS, interval_s=lasting[place - 1]),)
            binding = Cause.COLLISIONS
        else:
            binding = max(limits, key=lambda limit: limit.interval_s).cause
        asked = goals.interval_s is not None
        return self.at(interval_s, binding=Cause.ASKED if asked else binding, limits=limits)

    def _delivers(self, interval_s: float, goals: Goals) -> bool:
        return self.link.delivery(self.way, interval_s).least >= goals.delivery

    def _undelivered(self, goals: Goals, interval_s: float) -> Refused:
        found = self.link.delivery(self.way, interval_s)
        cause = Cause.RANGE if found.out_of_range > 1 - goals.delivery else Cause.COLLISIONS
        share = f"{found.share:.1%} +- {found.error:.1%}" if found.fleets else f"at most {found.share:.1%}"
        return self._refused(cause, f"{share} arrive at a report every {interval_s:g} s (simulated)")

    def unfit(self, goals: Goals) -> Refused | None:
        """Why the configuration cannot be had at all."""
        one, every_s = self.configuration, self.device.inference_every_s
        if one is None:
            return None
        if (one.accuracy or 0.0) < goals.accuracy:
            known = "not known" if one.accuracy is None else f"{one.accuracy:.1%}"
            return self._refused(Cause.ACCURACY, f"its accuracy is {known}")
        if over_latency(one.latency_ms.value, self.device.budget):
            deadline_ms = self.device.budget.latency_ms
            return self._refused(Cause.COMPUTE, f"it takes {one.latency_ms.value:.3g} ms of {deadline_ms:g} ms")
        burst_uj = self.device.budget.energy_burst_uj
        if burst_uj is not None and one.energy_uj.value > burst_uj:
            return self._refused(Cause.POWER, f"it takes {one.energy_uj.value:.3g} uJ of {burst_uj:g} uJ at once")
        worst = max(compute_limits(one, self.device), key=lambda limit: limit.interval_s)
        if every_s is not None and every_s < worst.interval_s:
            return self._refused(worst.cause, f"at most one inference every {worst.interval_s:.3g} s")
        return None

    def _refused(self, cause: Cause, why: str) -> Refused:
        name = None if self.configuration is None else self.configuration.id
        return Refused(way=self.way.name, configuration=name, cause=cause, why=why)

    def _every_s(self, interval_s: float) -> float | None:
        return None if self.configuration is None else self.device.inference_every_s or interval_s

    def _inference_mw(self, interval_s: float) -> float:
        every_s = self._every_s(interval_s)
        if self.configuration is None or every_s is None:
            return 0.0
        return self.configuration.energy_uj.value * 1e-3 / every_s

    def _battery_s(self, years: float, short_s: float, long_s: float) -> float:
        """The shortest interval at which the battery lasts, between one that is too short and one that is not."""
        for _ in range(_HALVINGS):
            middle_s = (short_s + long_s) / 2
            short_s, long_s = (short_s, middle_s) if self.years(middle_s) >= years else (middle_s, long_s)
        return long_s


def intervals(goals: Goals) -> tuple[float, ...]:
    """The intervals to choose from: the one that is wanted, or all round ones."""
    return INTERVALS_S if goals.interval_s is None else (goals.interval_s,)


def compute_limits(one: Configuration, device: Device) -> tuple[Limit, ...]:
    """How often a configuration may run for its time and the power budget."""
    limits: tuple[Limit, ...] = (Limit(cause=Cause.COMPUTE, interval_s=one.latency_ms.value * 1e-3),)
    if device.budget.power_mw is not None:
        limits += (Limit(cause=Cause.POWER, interval_s=one.energy_uj.value * 1e-3 / device.budget.power_mw),)
    return limits


def assessed(cases: Sequence[Case], goals: Goals) -> tuple[list[Plan], list[Refused]]:
    """What meets the goals, and what does not with the reasons."""
    plans: list[Plan] = []
    refused: list[Refused] = []
    for case in cases:
        found = case.assess(goals)
        if isinstance(found, Plan):
            plans.append(found)
        elif found not in refused:  # a way that is out is so with every configuration
            refused.append(found)
    return plans, refused


def rank(plan: Plan) -> tuple[float, float, float]:
    """Order of preference: the shortest interval, the most accurate, the longest life."""
    return plan.interval_s, -accuracy_of(plan), -plan.years


def accuracy_of(plan: Plan) -> float:
    """Of its configuration; 0 where that is not known."""
    return 0.0 if plan.configuration is None else plan.configuration.accuracy or 0.0
