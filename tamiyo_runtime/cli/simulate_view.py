"""``tamiyo simulate`` for people: the plan of a run, and what it came to, in some fifteen lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.cli import simulate_time
from tamiyo_runtime.cli.render import labelled, say, table
from tamiyo_runtime.contracts.units import duration, microjoules, milliseconds, percent, plural, si, size

if TYPE_CHECKING:
    from simulators.fleet.costs import Inference
    from simulators.fleet.detail.run import Detail
    from simulators.fleet.forecast import Forecast
    from simulators.fleet.resolve import Resolved
    from simulators.fleet.result import FleetResult
    from simulators.fleet.summary import GroupSummary

_PARTED = 0.01
"""Deliveries under the two rules of capture are both shown when they are further apart."""


def plan(
    resolved: Resolved, costs: Sequence[Inference | None], expected: Forecast, *, workers: int = 1
) -> dict[str, Any]:
    """What ``--dry-run`` says, JSON-ready."""
    import numpy as np

    from simulators.fleet.legality import shortest
    from tamiyo_runtime.contracts.document import dump

    scenario = resolved.scenario
    groups = []
    for number, group in enumerate(scenario.devices):
        field, work, cost = resolved.field_of(number), group.workload, costs[number]
        rates: dict[str, Any] = {}
        if field is not None:
            mine = field.data_rate[field.group == number]
            for rate, count in zip(*(one.tolist() for one in np.unique(mine, return_counts=True)), strict=True):
                airtime_s = field.region.airtime_s(rate, work.payload_bytes)
                least = shortest(
                    field.region,
                    field.channels,
                    data_rate=rate,
                    airtime_s=airtime_s,
                    jitter_s=work.jitter_s,
                    pattern=work.pattern,
                )
                rates[f"DR{rate}"] = {"devices": count, "airtime_s": airtime_s, "shortest_s": least.interval_s}
        groups.append(
            {
                "name": group.name,
                "devices": group.count,
                "link": group.link,
                "report_period_s": work.report_period_s,
                "payload_bytes": work.payload_bytes,
                "data_rates": rates,
                "inference": None
                if cost is None
                else {
                    "latency_ms": dump(cost.latency_ms),
                    "energy_uj": dump(cost.energy_uj),
                    "configuration": cost.configuration,
                    "period_s": work.inference_period_s,
                },
                "answers": field is not None and group.listens,
            }
        )
    return {
        "scenario": dump(scenario),
        "legal": True,
        "groups": groups,
        "messages": round(expected.messages),
        "memory_bytes": round(expected.memory_bytes),
        "seconds": expected.seconds,
        "detail_s": simulate_time.detail_s(resolved, workers=workers),
    }


def show_plan(plan: dict[str, Any], notes: Sequence[str]) -> None:
    """The plan as text."""
    scenario = plan["scenario"]
    devices = sum(group["devices"] for group in plan["groups"])
    say(f"{scenario['name']}: {plural(devices, 'device')} for {scenario['days']:g} days, seed {scenario['seed']}")
    rows = []
    for group in plan["groups"]:
        for rate, facts in (group["data_rates"] or {"-": None}).items():
            rows.append(
                [
                    group["name"],
                    group["link"],
                    rate,
                    group["devices"] if facts is None else facts["devices"],
                    f"{group['payload_bytes']} B",
                    f"{group['report_period_s']:g} s",
                    None if facts is None else f"{math.ceil(10 * facts['shortest_s']) / 10:g} s",
                ]
            )
    table(["group", "link", "rate", "devices", "payload", "every", "legal from"], rows)
    say("legal      yes: every schedule keeps its region's limits")
    for group in plan["groups"]:
        if (cost := group["inference"]) is not None:
            which = "" if cost["configuration"] is None else f" of {cost['configuration']}"
            latency, energy = cost["latency_ms"], cost["energy_uj"]
            said = f"{milliseconds(latency['value'])}, {microjoules(energy['value'])} ({latency['source']})"
            say(f"inference  {group['name']}: one{which} every {cost['period_s']:g} s, {said}")
    say(f"messages   {plan['messages']} expected")
    say(f"memory     about {size(plan['memory_bytes'])} (estimate)")
    say(f"time       about {duration(plan['seconds'])} ({simulate_time.ERROR})")
    if scenario["sample"]:
        took = duration(plan["detail_s"])
        say(f"detail     {scenario['sample']} of each group by the real runtime, on top: from {took}")
    for note in notes:
        say(labelled("taken      ", note))


def show(result: FleetResult, notes: Sequence[str], *, detail: Detail | None, files: Sequence[Path]) -> None:
    """The result as text."""
    from simulators.fleet.summary import summarise
    from tamiyo_runtime.cli.simulate_detail import show_detail

    scenario, groups = result.scenario, summarise(result)
    say(
        f"{scenario.name}: {plural(scenario.count, 'device')} for {scenario.days:g} days, seed {scenario.seed}"
        " (every figure simulated)"
    )
    headers = [
        "group",
        "over",
        "devices",
        "messages",
        "delivered",
        "latency p50",
        "p99",
        "energy a day",
        "worst battery",
    ]
    table([f"{name}" for name in headers], [_row(one) for one in groups])
    for one in groups:
        _show_group(result, one)
    lora = [number for number, one in enumerate(groups) if one.other_capture]
    if lora:
        heard = ", ".join(f"{number}: {count}" for number, count in enumerate(result.gateways.received[:8].tolist()))
        more = len(result.gateways.received) - 8
        say(f"gateways   packets received by {heard}{f' and {more} more' if more > 0 else ''} (simulated)")
    if detail is not None:
        show_detail(detail, result)
    for note in [*notes, *result.notes[1:]]:
        say(labelled("note       ", note))
    for path in files:
        say(f"wrote      {path}")


def _wrapped(label: str, text: str) -> str:
    """`labelled`, with each figure on one line with its percent sign."""
    return labelled(label, text.replace(" %", "\N{NO-BREAK SPACE}%")).replace("\N{NO-BREAK SPACE}", " ")


def _row(one: GroupSummary) -> list[object]:
    return [
        one.name,
        one.medium,
        one.devices,
        one.messages,
        None if one.delivered_share is None else percent(one.delivered_share),
        None if one.latency_p50_ms is None else milliseconds(one.latency_p50_ms),
        None if one.latency_p99_ms is None else milliseconds(one.latency_p99_ms),
        si(one.total_mj_a_day * 1e-3, "J"),
        _battery(one),
    ]


def _battery(one: GroupSummary) -> str | None:
    from tamiyo_runtime.cli.fleet_page.figures import days

    worst = one.battery_days_worst
    if worst is None:
        return None
    return days(worst)


def _show_group(result: FleetResult, one: GroupSummary) -> None:
    lost = [f"{count} {name}" for name, count in one.fates.items() if count and name != "received"]
    if one.withheld:
        lost.append(f"{one.withheld} never sent")
    said = [f"{one.name}: " + (", ".join(lost) or ("nothing lost" if one.messages else "nothing sent"))]
    other = one.delivered_other_share
    if other is not None and one.delivered_share is not None and abs(other - one.delivered_share) > _PARTED:
        capture = result.scenario.field.capture
        said.append(f"delivered {percent(one.delivered_share)} by {capture}, {percent(other)} by {one.other_capture}")
    if one.worst_device_share is not None and one.devices > 1:
        said.append(f"worst device {percent(one.worst_device_share)}")
    say(_wrapped("packets    ", "; ".join(said) + " (simulated)"))
    if one.busiest_hour_s is not None:
        limit = "no duty cycle" if one.limit_s_per_hour is None else f"{one.limit_s_per_hour:.3g} s allowed"
        say(f"airtime    {one.name}: {one.busiest_hour_s:.3g} s in the busiest hour of a device, {limit} (simulated)")
    total = one.total_mj_a_day
    if total:
        parts = sorted(one.mj_a_day.items(), key=lambda item: -item[1])
        shares = ", ".join(
            f"{name.replace('_', ' ')} {percent(mj / total)}" for name, mj in parts if mj / total >= 0.001
        )
        say(_wrapped("energy     ", f"{one.name}: {shares} (simulated)"))
    if any(one.over.values()):
        broken = ", ".join(f"{count} over {name.replace('_', ' ')}" for name, count in one.over.items() if count)
        say(f"limits     {one.name}: devices {broken} (simulated)")
