"""Devices run in detail beside what the vector engine says of the same devices: where both speak of the same thing.

A group without a bundle agrees to the bit, but for what detailed devices of other groups spoil. A group with one need
not: the runtime decides itself what it sends and what it runs, the vector engine goes by the scenario's numbers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulators.fleet.detail.run import Detail
from simulators.fleet.result import FleetResult, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure of a group's sampled devices, a device and day on average."""

    name: str
    unit: str
    detailed: float
    vector: float

    @property
    def ratio(self) -> float | None:
        """Detailed over vector; None where the latter is 0."""
        return self.detailed / self.vector if self.vector else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Figures of one group. ``devices``: how many of it were run in detail."""

    group: str
    devices: int
    figures: tuple[Compared, ...]


def agreements(detail: Detail, result: FleetResult) -> tuple[Agreement, ...]:
    """One for each group of which devices were run in detail, in the order of the scenario."""
    return tuple(
        Agreement(
            group=group.name,
            devices=int((detail.devices.group == number).sum()),
            figures=_figures(detail, result, number),
        )
        for number, group in enumerate(result.scenario.devices)
        if bool((detail.devices.group == number).any())
    )


def record(detail: Detail, result: FleetResult) -> dict[str, Any]:
    """What ``result.json`` says of a detailed run; without NaN."""
    return {
        "devices": _columns(detail.devices),
        "hours": _columns(detail.hours),
        "configurations": [dict(counts) for counts in detail.configurations],
        "skips": [dict(counts) for counts in detail.skips],
        "agreement": [asdict(one) for one in agreements(detail, result)],
        "left_out": dict(detail.left_out),
        "rounds": dict(detail.rounds),
        "played": detail.played,
    }


def _figures(detail: Detail, result: FleetResult, group: int) -> tuple[Compared, ...]:
    mine = detail.devices.group == group
    ours, theirs, rows = detail.devices, result.devices, detail.devices.device[mine]
    days = int(mine.sum()) * result.scenario.days
    radio_mj = theirs.radio_sending_mj + theirs.radio_listening_mj + theirs.radio_waiting_mj
    infers = bool((ours.inferences[mine] >= 0).all())

    def compared(name: str, unit: str, detailed: float, vector: float) -> Compared:
        return Compared(name=name, unit=unit, detailed=float(detailed) / days, vector=float(vector) / days)

    figures = [
        compared("frames", "", ours.frames[mine].sum(), theirs.packets[rows].sum()),
        compared("received", "", ours.received[mine].sum(), theirs.received[rows].sum()),
        compared("airtime", "s", ours.airtime_s[mine].sum(), np.nan_to_num(theirs.airtime_s[rows]).sum()),
        compared("radio", "mJ", ours.radio_mj[mine].sum(), radio_mj[rows].sum()),
    ]
    if infers:
        figures += [
            compared("inferences", "", ours.inferences[mine].sum(), theirs.inferences[rows].sum()),
            compared("inference energy", "mJ", ours.energy_mj[mine].sum(), theirs.inference_mj[rows].sum()),
        ]
    return tuple(figures)


def _columns(table: Table) -> dict[str, Any]:
    return {name: _plain(values.tolist()) for name, values, _, _ in table.columns()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
