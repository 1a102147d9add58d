"""How a plan is tried: what to change in its scenario, or a scenario to save where options described the fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tamiyo_runtime.cli.render import say

if TYPE_CHECKING:
    from simulators.fleet.group import Group
    from simulators.fleet.planning_terms import Plan


def show_next(plan: Plan, group: Group, network: object, *, source: Path | None) -> None:
    """The next command, with what its file has to say."""
    from simulators.fleet.kinds import LoraKind
    from simulators.fleet.planning_lora import LoRa

    kind = group.kind
    rate: int | str | None = None
    if isinstance(network, LoRa) and isinstance(kind, LoraKind) and kind.data_rate is None:
        rate = network.data_rate(plan.way)
    if source is None:
        say("\nNext:  tamiyo simulate fleet.toml, a file that says")
        say(text(plan, group, rate))
        return
    told = "" if rate is None else f" and data_rate = {json.dumps(rate)}"
    say(f"\nNext:  give {group.name} report_period_s = {plan.interval_s:g}{told}, and tamiyo simulate {source}")


def text(plan: Plan, group: Group, rate: int | str | None) -> str:
    """The scenario of a plan for a group that options described, as TOML. ``rate``: None where the link says it."""
    work = {"report_period_s": plan.interval_s, "payload_bytes": group.workload.payload_bytes}
    lines = ['name = "fleet"', "[[devices]]", f"name = {_shown(group.name)}", f"count = {group.count}"]
    lines.append(f"link = {_shown(group.link)}")
    if rate is not None:
        lines.append(f"data_rate = {_shown(rate)}")
    lines.append(f"profile = {_shown(group.profile)}")
    if group.network is not None:
        lines.append(f"network = {_shown(group.network)}")
        work["inference_period_s"] = plan.inference_every_s or plan.interval_s
    if group.placement is not None:
        lines.append(f"placement = {{ radius_m = {_shown(group.placement.radius_m)} }}")
    lines.append("workload = { " + ", ".join(f"{key} = {_shown(value)}" for key, value in work.items()) + " }")
    if group.sleep_mw is not None:
        lines.append(f"sleep_mw = {_shown(group.sleep_mw)}")
    if group.battery is not None:
        lines.append(f"battery = {{ capacity_mah = {_shown(group.battery.capacity_mah)} }}")
    return "\n".join(lines)


def _shown(value: float | str | None) -> str:
    """As TOML writes it: numbers and texts as JSON does."""
    return json.dumps(value, ensure_ascii=False)
