"""Runs a scenario: LoRa fields window by window, cellular groups so many messages at a time, then columns together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.fleet.answered import listens, run_answered
from simulators.fleet.cellular import run_cellular, timing_of
from simulators.fleet.costs import Inference, costs_of, sleep_mw
from simulators.fleet.faults import faults_of
from simulators.fleet.kinds import LoraKind
from simulators.fleet.legality import check_legal, limit_s_per_hour
from simulators.fleet.lora_columns import energy_columns, place_columns, traffic_columns
from simulators.fleet.notes import notes_on
from simulators.fleet.powering import battery_days, board_mj, broken_limits, inferences
from simulators.fleet.resolve import Resolved
from simulators.fleet.result import Devices, FleetResult, Gateways, GroupFacts, Hours, Packets
from simulators.fleet.scenario import Scenario
from simulators.fleet.shards import run_field
from simulators.fleet.tally import HOUR_S, Tally
from simulators.lorawan.streams import Ints

Columns = dict[str, NDArray[Any]]
_KINDS = {"Ints": np.int64, "Floats": np.float64, "Bools": np.bool_}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told what while a run goes on: ``share`` how much of it is done, ``packets`` every LoRa packet.

    Packets come in order of their start, one region after the other.
    """

    share: Callable[[float], None] | None = None
    packets: Callable[[Packets], None] | None = None


def expected_messages(resolved: Resolved) -> list[float]:
    """Messages of the run, on average, for each part of it: LoRa fields, then cellular groups."""
    fields = [field.timing.expected() for field in resolved.lora]
    return fields + [timing_of(resolved.scenario, number).expected() for number in resolved.cellular]


def run(
    resolved: Resolved, *, workers: int = 1, window_s: float | None = None, watch: Watch | None = None
) -> FleetResult:
    """Simulates a scenario. Neither ``workers`` nor ``window_s`` changes a bit of the result.

    Raises SchemaError for a schedule that is not legal on the air, and what opening a group's bundle raises.
    """
    check_legal(resolved)
    scenario, watch = resolved.scenario, watch or Watch()
    costs = costs_of(scenario)
    sheet = _Sheet.blank(scenario)
    shares = _shares(expected_messages(resolved), watch.share)
    for field, on_share in zip(resolved.lora, shares, strict=False):
        if listens(field):
            columns, tally = run_answered(field, on_share=on_share, on_packets=watch.packets)
        else:
            tally = run_field(field, workers=workers, length_s=window_s, on_share=on_share, on_packets=watch.packets)
            columns = traffic_columns(field, tally)
            columns |= energy_columns(field, columns["packets"])
        sheet.fill(field.numbers, {**place_columns(field), **columns})
        sheet.count(tally)
    for number, on_share in zip(resolved.cellular, shares[len(resolved.lora) :], strict=True):
        one = run_cellular(scenario, number, on_share=on_share)
        sheet.fill(scenario.numbers_of(number), one.columns)
        sheet.sent[number], sheet.received[number] = one.sent, one.received
    for number, cost in enumerate(costs):
        _fill_board(sheet.columns, resolved, number, cost)
    return FleetResult(
        scenario=scenario,
        groups=tuple(_facts(resolved, number, cost) for number, cost in enumerate(costs)),
        devices=Devices(**sheet.columns),
        hours=Hours(sent=sheet.sent, received=sheet.received),
        gateways=Gateways(
            x_m=np.array([one.x_m for one in scenario.gateways]),
            y_m=np.array([one.y_m for one in scenario.gateways]),
            **sheet.gateways,
        ),
        notes=notes_on(resolved),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A result on its way: columns of devices by name, packets by group and hour, counts by gateway."""

    columns: Columns
    sent: Ints
    received: Ints
    gateways: dict[str, Ints]

    @classmethod
    def blank(cls, scenario: Scenario) -> _Sheet:
        hours, groups = max(1, math.ceil(scenario.duration_s / HOUR_S)), len(scenario.devices)
        names = ("received", "only", "collided", "no_path")
        return cls(
            columns={one.name: np.zeros(scenario.count, _KINDS[str(one.type)]) for one in dataclasses.fields(Devices)},
            sent=np.zeros((groups, hours), np.int64),
            received=np.zeros((groups, hours), np.int64),
            gateways={name: np.zeros(len(scenario.gateways), np.int64) for name in names},
        )

    def fill(self, numbers: Ints, columns: Columns) -> None:
        """Some columns of some devices."""
        for name, values in columns.items():
            self.columns[name][numbers] = values

    def count(self, tally: Tally) -> None:
        """What was counted in a LoRa field."""
        self.sent[:] += tally.sent
        self.received[:] += tally.received
        counts = (tally.heard_by, tally.only_by, tally.collided_at, tally.no_path_at)
        for name, more in zip(self.gateways, counts, strict=True):
            self.gateways[name] += more


def _shares(expected: list[float], told: Callable[[float], None] | None) -> list[Callable[[float], None] | None]:
    """For each part of the run, whom to tell how much of it is done: it becomes a share of the whole."""
    if told is None:
        return [None] * len(expected)
    total = sum(expected) or 1.0

    def part(before: float, mine: float) -> Callable[[float], None]:
        return lambda share: told((before + mine * share) / total)

    return [part(sum(expected[:number]), one) for number, one in enumerate(expected)]


def _fill_board(columns: Columns, resolved: Resolved, number: int, cost: Inference | None) -> None:
    """Inferences, sleep, battery and limits of a group's devices: their radio's columns are there."""
    scenario = resolved.scenario
    group, rows, duration_s = scenario.devices[number], scenario.numbers_of(number), scenario.duration_s
    faults = faults_of(scenario, rows, np.full(group.count, number))
    powered_s = faults.powered_s(group.count, duration_s)
    active_h = None if scenario.schedule is None else scenario.schedule.hours
    done = inferences(group, faults.powered_s(group.count, duration_s, active_h))
    columns["inferences"][rows] = done
    inference_mj, asleep_mj = board_mj(done, cost, sleep_mw(group), powered_s)
    columns["inference_mj"][rows], columns["board_sleep_mj"][rows] = inference_mj, asleep_mj
    radio = [columns[f"radio_{state}_mj"][rows] for state in ("sending", "listening", "waiting", "sleep")]
    mean_mw = (sum(radio, inference_mj + asleep_mj)) / duration_s
    columns["battery_days"][rows] = battery_days(group.battery, mean_mw)
    limits = broken_limits(group, cost, columns["busiest_hour_s"][rows], columns["packets"][rows], duration_s)
    for name, values in limits.items():
        columns[name][rows] = values


def _facts(resolved: Resolved, number: int, cost: Inference | None) -> GroupFacts:
    group, field = resolved.scenario.devices[number], resolved.field_of(number)
    limit = None
    if field is not None:
        rates = np.unique(field.data_rate[field.group == number]).tolist()
        limits = [limit_s_per_hour(field.region, field.channels, rate) for rate in rates]
        limit = min((one for one in limits if one is not None), default=None)
    return GroupFacts(
        name=group.name,
        medium=field.region.name if field is not None and isinstance(group.kind, LoraKind) else group.link,
        limit_s_per_hour=limit,
        inference_latency_ms=None if cost is None else cost.latency_ms,
        inference_energy_uj=None if cost is None else cost.energy_uj,
        configuration=None if cost is None else cost.configuration,
        other_capture=None if field is None else field.other_capture,
    )
