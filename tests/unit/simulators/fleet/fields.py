"""Scenarios that the tests of fleets share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from simulators.fleet.lora import LoraField
from simulators.fleet.parts import Gateway, Pattern, Placement, Workload
from simulators.fleet.resolve import resolve
from simulators.fleet.scenario import Field, Group, Scenario
from simulators.fleet.tally import Tally
from simulators.fleet.windows import Windows

DAY_S = 86_400.0


def group(name: str = "soil", count: int = 100, **changes: Any) -> Group:
    """A LoRa group on a disc; keys of its workload are given as they are."""
    work = {one.name for one in fields(Workload)}
    workload = {"report_period_s": 600.0, **{key: value for key, value in changes.items() if key in work}}
    given = {key: value for key, value in changes.items() if key not in work}
    if not str(given.get("link", "lora-eu868")).startswith("lora"):
        given.setdefault("placement", None)
    return Group(
        name=name,
        count=count,
        **{"link": "lora-eu868", "placement": Placement(radius_m=4000.0), **given},
        workload=Workload(**workload),  # type: ignore[arg-type]
    )


def scenario(*groups: Group, **changes: Any) -> Scenario:
    """Half a day of some groups."""
    given: dict[str, Any] = {"name": "test", "days": 0.5, "seed": 3, **changes}
    return Scenario(devices=groups or (group(),), **given)


def mixed(**changes: Any) -> Scenario:
    """Groups that differ in whatever they may, two gateways, shadows."""
    return scenario(
        group("soil", 300, jitter_s=100.0),
        group("rain", 200, report_period_s=400.0, pattern=Pattern.POISSON, data_rate=3, payload_bytes=40),
        group("far", 50, report_period_s=1200.0, data_rate=0, power_index=2, radio="sx1262"),
        gateways=(Gateway(), Gateway(x_m=3000.0)),
        **{"field": Field(plan="ttn", shadowing_db=6.0), **changes},
    )


def lora(one: Scenario) -> LoraField:
    """Its only field."""
    (found,) = resolve(one).lora
    return found


def tallied(one: LoraField, length_s: float | None = None) -> Tally:
    """The whole run in windows of that length."""
    windows = Windows.of(one, length_s)
    tally = windows.tally()
    windows.run(0, windows.count, windows.start(0), tally)
    return tally


def same(one: Tally, other: Tally) -> bool:
    """Whether two tallies agree to the bit."""
    return all(np.array_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(Tally))
