"""A plan for people and for programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.cli.render import labelled, say, table
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.units import duration, microjoules, milliseconds, percent, plural, si, size

if TYPE_CHECKING:
    from simulators.fleet.group import Group
    from simulators.fleet.planning_terms import Limit, Plan, Planning, Way
    from simulators.fleet.planning_update import UpdateCost
    from simulators.fleet.scenario import Scenario

_LABEL = 17
_TOLD = 1e-3
"""A limit below this share of the interval is not worth a word."""


def as_data(found: Planning, group: Group, network: str, update: UpdateCost | None) -> dict[str, Any]:
    """All of it, JSON-ready; what is infinite is None."""
    return {
        "schema": "tamiyo.fleet-plan/1",
        "simulated": True,
        "group": group.name,
        "devices": group.count,
        "network": network,
        **_plain(found),
        "update": None if update is None else _plain(update),
    }


def check(found: Planning, group: Group) -> None:
    """Raises BudgetError when no plan meets the goals, with what would have to give in its hint."""
    if found.recommended is not None:
        return
    if not found.nearest:
        raise BudgetError(
            f"no plan meets the goals for {group.name}, and no one goal alone would have to give",
            hint="relax two of --years, --delivery, --every-s and --accuracy",
        )
    options = [_relaxed(one.goal, one.to, found) for one in found.nearest]
    raise BudgetError(f"no plan meets the goals for {group.name}", hint=f"one of these would: {'; '.join(options)}")


def show(found: Planning, group: Group, network: str, update: UpdateCost | None, scenario: Scenario) -> None:
    """The plan, its alternatives, what is out, and what it leaves for inferences and updates."""
    goals = found.goals
    battery = (
        "from the mains"
        if math.isinf(found.device.battery_j)
        else f"{goals.years:g} year{'' if goals.years == 1 else 's'} on {_joules(found)}"
    )
    wanted = [battery, f"{percent(goals.delivery)} delivered"]
    wanted += [] if goals.interval_s is None else [f"a report every {duration(goals.interval_s)}"]
    wanted += [f"{percent(goals.accuracy)} accurate"] if goals.accuracy else []
    say(f"{plural(group.count, 'device')} on {network}, {group.workload.payload_bytes} bytes a report (all simulated)")
    say(f"wanted: {', '.join(wanted)}")
    say()
    if found.recommended is not None:
        _recommended(found.recommended)
        say()
    _ways(found)
    if found.classes:
        say()
        _classes(found.classes)
    if len(found.others) > 1:
        say("\nalternatives that no other beats in interval, battery and delivery:")
        table(
            ["way", "report every", "battery, years", "arrives", "on air an hour"],
            [
                [
                    one.way.name,
                    duration(one.interval_s),
                    years(one.years),
                    _arrives(one),
                    f"{one.airtime_s_an_hour:.3g} s",
                ]
                for one in found.others
            ],
        )
    if found.inferences:
        say()
        _inferences(found)
    if update is not None:
        say()
        _update(update)
    _asleep(found, group)
    if group.listens or scenario.faults or scenario.schedule is not None:
        say("\nnote: planned for unconfirmed reports without ADR, around the clock and without the scenario's faults")


def years(value: float) -> str:
    """A battery's life in years."""
    return "-" if math.isinf(value) else f"{value:.3g}"


def _recommended(one: Plan) -> None:
    ordered = sorted(one.limits, key=lambda limit: -limit.interval_s)
    limits = [_limit(limit) for limit in ordered if limit.interval_s >= _TOLD * one.interval_s][:3]
    if one.binding not in [limit.cause for limit in one.limits]:
        limits = [str(one.binding), *limits]
    say(f"{'recommended':<{_LABEL}}a report every {duration(one.interval_s)} by {one.way.name}")
    say(labelled(f"{'limited by':<{_LABEL}}", ", then ".join(limits)))
    parts = {"radio": one.radio_mw, "inferences": one.inference_mw, "board asleep": one.base_mw}
    shares = ", ".join(f"{name} {percent(part / one.mean_mw)}" for name, part in parts.items() if part)
    lasts = "from the mains" if math.isinf(one.years) else f"{years(one.years)} years"
    say(f"{'battery':<{_LABEL}}{lasts}; {si(one.energy_j_a_day, 'J')} a day: {shares}")
    say(f"{'arrives':<{_LABEL}}{_arrives(one)} of reports: {_basis(one)}")
    lost = ", ".join(f"{name} {percent(share, digits=2)}" for name, share in one.delivery.lost.items() if share >= 5e-5)
    if lost:
        say(f"{'lost':<{_LABEL}}{lost}")
    each = milliseconds(1e3 * one.way.airtime_s)
    say(f"{'on the air':<{_LABEL}}{each} a report, {one.airtime_s_an_hour:.3g} s an hour")
    if one.configuration is not None:
        known = "" if one.configuration.accuracy is None else f", {percent(one.configuration.accuracy)} accurate"
        every = duration(one.inference_every_s or 0.0)
        say(f"{'configuration':<{_LABEL}}{one.configuration.id}{known}, an inference every {every}")


def _basis(one: Plan) -> str:
    found = one.delivery
    return f"{found.fleets} fleets, {found.reports} reports; 95 % of such fleets are within"


def _arrives(one: Plan) -> str:
    return f"{percent(one.delivery.share)} +- {percent(one.delivery.error)}"


def _limit(limit: Limit) -> str:
    longer = "more than " if limit.cause == "collisions" else ""
    return f"{limit.cause} ({longer}{duration(limit.interval_s)})"


def _ways(found: Planning) -> None:
    plans = {one.way.name: one for one in found.shortest}
    rows = []
    for way in found.ways:
        one = plans.get(way.name)
        out = next((each for each in found.refused if each.way == way.name), None)
        by, why = ("", "") if out is None else (str(out.cause), out.why)
        rows.append(
            [
                way.name,
                milliseconds(1e3 * way.airtime_s) if way.airtime_s else None,
                si(1e-3 * way.report_mj, "J") if way.report_mj else None,
                _reach(way),
                duration(way.legal_s) if way.limits else None,
                None if one is None else duration(one.interval_s),
                None if one is None else years(one.years),
                None if one is None else _arrives(one),
                by if one is None else str(one.binding),
                why if one is None else "",
            ]
        )
    head = [
        "way",
        "on air",
        "a report",
        "90 % reach",
        "legal from",
        "plan",
        "years",
        "arrives",
        "limited by",
        "out, since",
    ]
    table(head, rows)


def _reach(way: Way) -> str | None:
    if not way.airtime_s:
        return None
    return "beyond model" if way.reach_m is None else f"{way.reach_m / 1000:.3g} km"


def _classes(classes: Sequence[Way]) -> None:
    say("what the network assigns; the plan holds for the slowest:")
    table(
        ["class", "devices", "on air", "a report", "90 % reach"],
        [
            [
                one.name,
                percent(one.share),
                milliseconds(1e3 * one.airtime_s),
                si(1e-3 * one.report_mj, "J"),
                _reach(one),
            ]
            for one in classes
        ],
    )


def _inferences(found: Planning) -> None:
    say("inferences beside those reports, each configuration alone:")
    rows = []
    for one in found.inferences:
        configuration = one.configuration
        rows.append(
            [
                configuration.id,
                None if configuration.accuracy is None else percent(configuration.accuracy),
                milliseconds(configuration.latency_ms.value),
                f"{microjoules(configuration.energy_uj.value)}, {configuration.energy_uj.source}",
                None if one.every_s is None else duration(one.every_s),
                str(one.cause),
            ]
        )
    table(["configuration", "accuracy", "takes", "costs", "at most every", "limited by"], rows)


def _update(update: UpdateCost) -> None:
    told = f"update of {size(update.size_bytes)}: "
    contact = f"{duration(update.contact_s)} over a contact of 2 Mbit/s"
    if update.sent:
        share = "" if not update.battery_share else f", {percent(update.battery_share, digits=2)} of the battery"
        energy = si(update.energy_j or 0.0, "J")
        say(f"{told}{duration(update.seconds or 0.0)}, {update.frames} frames, about {energy} of the radio{share}")
        return
    if update.seconds is None:
        say(f"{told}not sent over this link, whose frames are too small; it needs a contact: {contact}")
        return
    say(
        f"{told}not sent over this link, it waits for a contact: {contact} "
        f"({update.frames} frames here would take {duration(update.seconds)} of its legal airtime)"
    )


def _asleep(found: Planning, group: Group) -> None:
    """Say so where the board's rest is most of what is drawn, and was not given."""
    plans = [found.recommended] if found.recommended else [one.plan for one in found.nearest]
    if not plans or group.sleep_mw is not None or plans[0] is None:
        return
    one = plans[0]
    if one.base_mw > one.mean_mw / 2 and not math.isinf(found.device.battery_j):
        text = (
            f"{percent(one.base_mw / one.mean_mw, digits=0)} of the energy is that of the board asleep, as the "
            f"profile {group.profile} has it; --sleep-mw, or sleep_mw of the group, says what yours draws"
        )
        say(f"\n{labelled('note: ', text)}")


def _relaxed(goal: str, to: float, found: Planning) -> str:
    if goal == "years":
        factor = found.goals.years / to
        return f"--years {_down(to)}, or {factor:.3g} times the battery"
    if goal == "interval_s":
        return f"--every-s {to:g}"
    return f"--{goal} {_down(to)}"


def _down(value: float) -> str:
    """Three digits, rounded down so that the goal is met."""
    if value <= 0:
        return "0"
    power = 10.0 ** (2 - math.floor(math.log10(value)))
    return f"{math.floor(value * power) / power:.3g}"


def _joules(found: Planning) -> str:
    return f"{si(found.device.battery_j, 'J')} of battery"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
