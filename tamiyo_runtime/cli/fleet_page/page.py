"""The whole page: what was simulated, in figures first, then part by part, the scenario itself at the end."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from exporters.html.page import Card, Listing, Section, Table, page
from simulators.fleet.detail.run import Detail
from simulators.fleet.result import FleetResult
from tamiyo_runtime.cli.fleet_page import field_map, reach, sampled, spending
from tamiyo_runtime.cli.fleet_page.figures import days, groups, number_of, percentage, share
from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.units import microjoules, milliseconds, plural

_GOOD_DELIVERY = 0.95


def render(result: FleetResult, detail: Detail | None = None) -> str:
    """The page of a run, with the devices that were run in detail if any; the same run gives the same bytes."""
    field = field_map.section(result)
    who, losses, *further = reach.sections(result)
    sections = [_groups(result), who, losses, *([] if field is None else [field]), *further]
    sections += spending.sections(result)
    if detail is not None:
        sections += sampled.sections(result, detail)
    sections.append(_scenario(result))
    return page(f"{result.scenario.name}: a fleet, simulated", _lead(result), _cards(result), sections)


def _lead(result: FleetResult) -> str:
    scenario = result.scenario
    gateways = len(result.gateways.x_m)
    many = "device" if scenario.count == 1 else "devices"
    place = f", {plural(gateways, 'gateway')}" if gateways else ""
    return (
        f"{scenario.count:,} {many} in {plural(len(scenario.devices), 'group')}{place}, {scenario.days:g} days, "
        f"seed {scenario.seed}. Every figure on this page is simulated: no radio and no battery was measured. "
        "Models, and what they leave out, are in docs/fleet.md, docs/lorawan.md and docs/cellular.md."
    )


def _cards(result: FleetResult) -> list[Card]:
    devices = result.devices
    arrived = share(float(devices.delivered.sum()), float(devices.messages.sum()))
    cards = [Card(percentage(arrived) or "nothing", "of all messages arrived", _verdict(arrived))]
    broke = int((devices.violations > 0).sum())
    cards.append(Card(f"{broke:,}", f"of {len(devices):,} devices broke a limit", broke == 0))
    life = devices.battery_days
    if not np.isnan(life).all():
        worst = int(np.nanargmin(life))
        cards.append(Card(days(float(life[worst])), f"shortest battery: {number_of(result, worst)}"))
    busiest = devices.busiest_hour_s
    if np.isfinite(busiest).any():
        worst = int(np.nanargmax(busiest))
        cap = result.groups[int(devices.group[worst])].limit_s_per_hour
        within = "" if cap is None else f"; the law allows {cap:g} s"
        good = None if cap is None else bool(busiest[worst] <= cap)
        cards.append(Card(f"{busiest[worst]:.3g} s", f"on the air in the busiest hour of a device{within}", good))
    cards.append(Card(f"{int(devices.packets.sum()):,}", "packets simulated"))
    return cards


def _verdict(arrived: float | None) -> bool | None:
    return None if arrived is None else arrived >= _GOOD_DELIVERY


def _groups(result: FleetResult) -> Section:
    rows = []
    for number, name, part in groups(result):
        facts, group = result.groups[number], result.scenario.devices[number]
        devices = result.devices
        latency, energy = facts.inference_latency_ms, facts.inference_energy_uj
        life = devices.battery_days[part]
        shortest = "from the mains" if np.isnan(life).all() else days(float(np.nanmin(life)))
        told = share(float(devices.delivered[part].sum()), float(devices.messages[part].sum()))
        rows.append(
            [
                name,
                f"{group.count:,}",
                facts.medium,
                group.profile,
                f"{group.workload.payload_bytes} B every {group.workload.report_period_s:g} s",
                "" if latency is None else f"{milliseconds(latency.value)}, {latency.source}",
                "" if energy is None else f"{microjoules(energy.value)}, {energy.source}",
                facts.configuration or "",
                percentage(told),
                shortest,
            ]
        )
    head = ["group", "devices", "link", "profile", "reports", "inference takes", "and costs", "configuration"]
    head += ["arrived", "shortest battery"]
    used = [column for column in range(len(head)) if any(row[column] for row in rows)]
    table = Table([head[column] for column in used], [[row[column] for column in used] for row in rows])
    return Section("The fleet", "", (table,), "; ".join(result.notes))


def _scenario(result: FleetResult) -> Section:
    document = _pruned(dump(result.scenario))
    text = json.dumps(document, indent=2, ensure_ascii=False)
    extra = dict(result.extra)
    parts: list[Listing] = [Listing(text, fold="the scenario, as it was run")]
    if extra:
        parts.append(Listing(json.dumps(extra, indent=2, ensure_ascii=False), fold="what else the run left"))
    return Section("The scenario", "With this scenario and seed the run repeats bit for bit.", parts)


def _pruned(value: Any) -> Any:
    """Without what is not said: None and empty."""
    if isinstance(value, dict):
        return {key: kept for key, one in value.items() if (kept := _pruned(one)) not in (None, {}, [])}
    return [_pruned(one) for one in value] if isinstance(value, list) else value
