"""A run in a few figures a group, as data for people and for programs. All of it is simulated."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulators.fleet.result import Fate, FleetResult, Floats
from tamiyo_runtime.contracts.document import dump

SCHEMA = "tamiyo.fleet/1"
STATES = ("radio_sending", "radio_listening", "radio_waiting", "radio_sleep", "inference", "board_sleep")
LIMITS = ("latency", "power", "airtime", "bytes", "duty_cycle")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """A group (simulated). Shares are of messages, None without one; ``fates`` count packets.

    Latencies are medians over devices of each device's percentile; battery days the worst device's and the median,
    None without a battery and infinite as null in JSON with ``battery_lasts``.
    """

    name: str
    medium: str
    devices: int
    messages: int
    withheld: int
    delivered: int
    delivered_share: float | None
    delivered_other_share: float | None
    other_capture: str | None
    worst_device_share: float | None
    fates: dict[str, int]
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    busiest_hour_s: float | None
    limit_s_per_hour: float | None
    mj_a_day: dict[str, float]
    battery_days_worst: float | None
    battery_days_median: float | None
    battery_lasts: int
    inferences: int
    configuration: str | None
    over: dict[str, int]

    @property
    def total_mj_a_day(self) -> float:
        """Energy of a device a day, on average."""
        return sum(self.mj_a_day.values())


def summarise(result: FleetResult) -> tuple[GroupSummary, ...]:
    """Figures of each group, in the order of the scenario."""
    return tuple(_group(result, number) for number in range(len(result.groups)))


def record(result: FleetResult) -> dict[str, Any]:
    """``result.json``: the scenario, what each group came to, gateways, hours, notes. JSON-ready, without NaN."""
    gateways = {name: values.tolist() for name, values, _, _ in result.gateways.columns()}
    return {
        "schema": SCHEMA,
        "source": "simulated",
        "scenario": dump(result.scenario),
        "groups": [_plain(asdict(one)) for one in summarise(result)],
        "inference": [_inference(result, number) for number in range(len(result.groups))],
        "gateways": gateways,
        "hours": {name: values.tolist() for name, values, _, _ in result.hours.columns()},
        "notes": list(result.notes),
        **result.extra,
    }


def _group(result: FleetResult, number: int) -> GroupSummary:
    facts, table, rows = result.groups[number], result.devices, result.rows_of(number)
    some = {name: values[rows] for name, values, _, _ in table.columns()}
    messages, delivered = int(some["messages"].sum()), int(some["delivered"].sum())
    sent = some["messages"] > 0
    days = some["battery_days"]
    lasting = int(np.isinf(days).sum())
    other = facts.other_capture
    return GroupSummary(
        name=facts.name,
        medium=facts.medium,
        devices=len(days),
        messages=messages,
        withheld=int(some["withheld"].sum()),
        delivered=delivered,
        delivered_share=delivered / messages if messages else None,
        delivered_other_share=int(some["delivered_other"].sum()) / messages if messages and other else None,
        other_capture=other,
        worst_device_share=float((some["delivered"][sent] / some["messages"][sent]).min()) if messages else None,
        fates={fate.label: int(some[fate.name.lower()].sum()) for fate in Fate},
        latency_p50_ms=_median(some["latency_p50_ms"]),
        latency_p99_ms=_median(some["latency_p99_ms"]),
        busiest_hour_s=_most(some["busiest_hour_s"]),
        limit_s_per_hour=facts.limit_s_per_hour,
        mj_a_day={state: float(some[f"{state}_mj"].mean()) / result.scenario.days for state in STATES},
        battery_days_worst=None if np.isnan(days).any() else float(days.min()),
        battery_days_median=None if np.isnan(days).any() else float(np.median(days)),
        battery_lasts=lasting,
        inferences=int(some["inferences"].sum()),
        configuration=facts.configuration,
        over={limit: int(some[f"over_{limit}"].sum()) for limit in LIMITS},
    )


def _inference(result: FleetResult, number: int) -> dict[str, Any] | None:
    facts = result.groups[number]
    if facts.inference_latency_ms is None or facts.inference_energy_uj is None:
        return None
    return {
        "latency_ms": dump(facts.inference_latency_ms),
        "energy_uj": dump(facts.inference_energy_uj),
        "configuration": facts.configuration,
    }


def _median(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else None


def _most(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else None


def _plain(value: Any) -> Any:
    """Without infinities, which JSON has not: None in their place."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
