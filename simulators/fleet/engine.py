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
from simulators.fleet.shards import run_field
from simulators.fleet.tally import HOUR_S

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
    columns = _blank(scenario.count)
    hours = max(1, math.ceil(scenario.duration_s / HOUR_S))
    sent, received = (np.zeros((len(scenario.devices), hours), np.int64) for _ in range(2))
    at_gateways = np.zeros((4, len(scenario.gateways)), np.int64)
    shares = _shares(expected_messages(resolved), watch.share)
    for part, field in enumerate(resolved.lora):
        powered_s = scenario.duration_s - field.faults.silent_s(field.count, scenario.duration_s)
        if listens(field):
            answered = run_answered(field, powered_s, on_share=shares[part], on_packets=watch.packets)
            tally, found = answered.tally, {**place_columns(field), **answered.columns}
        else:
            tally = run_field(
                field, workers=workers, length_s=window_s, on_share=shares[part], on_packets=watch.packets
            )
            found = {**place_columns(field), **traffic_columns(field, tally)}
            found |= energy_columns(field, found["packets"], powered_s)
        for name, values in found.items():
            columns[name][field.numbers] = values
        sent += tally.sent
        received += tally.received
        at_gateways += [tally.heard_by, tally.only_by, tally.collided_at, tally.no_path_at]
    for part, number in enumerate(resolved.cellular, start=len(resolved.lora)):
        one = run_cellular(scenario, number, on_share=shares[part])
        rows = slice(scenario.first_of(number), scenario.first_of(number) + scenario.devices[number].count)
        for name, values in one.columns.items():
            columns[name][rows] = values
        sent[number], received[number] = one.sent, one.received
    for number, cost in enumerate(costs):
        _fill_board(columns, resolved, number, cost)
    heard, only, collided, no_path = at_gateways
    return FleetResult(
        scenario=scenario,
        groups=tuple(_facts(resolved, number, cost) for number, cost in enumerate(costs)),
        devices=Devices(**columns),
        hours=Hours(sent=sent, received=received),
        gateways=Gateways(
            x_m=np.array([one.x_m for one in scenario.gateways]),
            y_m=np.array([one.y_m for one in scenario.gateways]),
            received=heard,
            only=only,
            collided=collided,
            no_path=no_path,
        ),
        notes=notes_on(resolved),
    )


def _blank(count: int) -> Columns:
    """Columns of nothing, each of its kind."""
    return {one.name: np.zeros(count, _KINDS[str(one.type)]) for one in dataclasses.fields(Devices)}


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
    group = scenario.devices[number]
    rows = slice(scenario.first_of(number), scenario.first_of(number) + group.count)
    numbers, of_group = np.arange(rows.start, rows.stop), np.full(group.count, number)
    duration_s = scenario.duration_s
    powered_s = duration_s - faults_of(scenario, numbers, of_group).silent_s(group.count, duration_s)
    active = 1.0 if scenario.schedule is None else scenario.schedule.share
    done = inferences(group, powered_s * active)
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
