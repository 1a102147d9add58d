"""A sample of a fleet's devices run in detail, among all the others: the runtime's own figures, by group.

LoRa devices of a region are settled together (`settle`) and disturb the rest of it, which sends as the vector engine
draws it. Cellular ones are played alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulators.fleet.answered import closed_run, listens
from simulators.fleet.detail.air import Air, Medium, frames_of, part
from simulators.fleet.detail.choose import Chosen, choose
from simulators.fleet.detail.crew import Crew
from simulators.fleet.detail.device import Day
from simulators.fleet.detail.figures import Course, Sampled, course, sampled
from simulators.fleet.detail.link import Frame
from simulators.fleet.detail.settle import settle
from simulators.fleet.lora import LoraField, Sendings
from simulators.fleet.resolve import Resolved
from simulators.lorawan.network import Network
from simulators.lorawan.open_loop import ears, packets_of
from simulators.lorawan.reception import Packets


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What devices that were run in detail did (simulated). Rows of tables and tuples are in the order of devices.

    ``configurations``: inferences by configuration, ``skips``: samples by reason. ``left_out``: why a group was not
    run in detail, by its name. ``rounds`` by region: how often its packets were weighed until all agreed; ``played``:
    runs of devices that took.
    """

    devices: Sampled
    hours: Course
    configurations: tuple[Mapping[str, int], ...]
    skips: tuple[Mapping[str, int], ...]
    left_out: Mapping[str, str]
    rounds: Mapping[str, int]
    played: int


def run_detail(
    resolved: Resolved,
    chosen: Chosen | None = None,
    *,
    workers: int = 1,
    on_day: Callable[[], None] | None = None,
) -> Detail:
    """Run the devices that were chosen, by default as many of each group as the scenario's ``sample`` says.

    ``on_day`` is called after each run of a device, of which some take more than one. Raises what opening a bundle
    raises, BudgetError where a budget does not even take the bare host.
    """
    chosen = choose(resolved) if chosen is None else chosen
    crew = Crew(chosen.jobs, workers=workers, on_day=on_day)
    days: dict[int, Day] = {}
    rounds: dict[str, int] = {}
    played = 0
    for field in resolved.lora:
        numbers = [number for number in chosen.jobs if bool((field.numbers == number).any())]
        if numbers:
            settled = settle(numbers, crew.play, medium_of(field, numbers))
            days.update(settled.runs)
            rounds[field.name] = settled.rounds
            played += settled.played
    alone = [number for number in chosen.jobs if number not in days]
    if alone:
        days.update(crew.alone(alone))
        played += len(alone)
    groups = np.searchsorted(_ends(resolved), list(chosen.jobs), side="right").tolist()
    jobs, lived = list(chosen.jobs.values()), [days[number] for number in chosen.jobs]
    summaries = [day.summary for day in lived]
    return Detail(
        devices=sampled(jobs, groups, lived),
        hours=course(jobs, lived, resolved.scenario.duration_s),
        configurations=tuple({} if one is None else one.counts for one in summaries),
        skips=tuple({} if one is None else one.skips for one in summaries),
        left_out=chosen.left_out,
        rounds=rounds,
        played=played,
    )


def _ends(resolved: Resolved) -> list[int]:
    """One beyond the last device of each group."""
    scenario = resolved.scenario
    return [scenario.first_of(number) + group.count for number, group in enumerate(scenario.devices)]


def medium_of(field: LoraField, detailed: Sequence[int]) -> Medium:
    """A region's air, with all devices but those of these numbers sending as the engine of fleets has them send.

    Where that is the closed loop, its downlinks are there too; neither they nor the rest react to detailed devices.
    """
    if listens(field):
        return _answered(field, detailed)
    sendings = field.between(0.0, field.scenario.duration_s)
    rest = np.flatnonzero(~np.isin(field.numbers[sendings.device], detailed))
    packets = field.packets(sendings)
    return Medium(
        ears=field.ears,
        rest=Air(device=field.numbers[sendings.device[rest]], packets=part(packets, rest)),
        make=Maker(field),
    )


def _answered(field: LoraField, detailed: Sequence[int]) -> Medium:
    run = closed_run(field)
    log, network = run.log, run.network
    packets = packets_of(
        network,
        device=log.device,
        index=log.index,
        start_s=log.start_s,
        airtime_s=log.airtime_s,
        data_rate=log.data_rate,
        power_index=log.power_index,
        channel=log.channel,
    )
    numbers = field.numbers[log.device]
    rest = np.flatnonzero(~np.isin(numbers, detailed))
    return Medium(
        ears=ears(network),
        rest=Air(device=numbers[rest], packets=part(packets, rest)),
        make=AnsweredMaker(field, network),
        downlinks=run.downlinks,
    )


@dataclass(frozen=True, slots=True)
class AnsweredMaker:
    """A `simulators.fleet.detail.air.MakePackets` of a region that the closed loop plays."""

    field: LoraField
    network: Network

    def __call__(self, number: int, frames: Sequence[Frame]) -> Packets:
        """Frames as its gateways meet them."""
        return frames_of(self.network, int(np.searchsorted(self.field.numbers, number)), frames)


@dataclass(frozen=True, slots=True)
class Maker:
    """A `simulators.fleet.detail.air.MakePackets` of a region."""

    field: LoraField

    def __call__(self, number: int, frames: Sequence[Frame]) -> Packets:
        """Frames as its gateways meet them."""
        place = int(np.searchsorted(self.field.numbers, number))
        sendings = Sendings(
            device=np.full(len(frames), place),
            message=np.array([one.index for one in frames], dtype=np.int64),
            start_s=np.array([one.start_s for one in frames], dtype=np.float64),
            channel=np.array([one.channel for one in frames], dtype=np.int64),
        )
        return self.field.packets(sendings, airtime_s=np.array([one.airtime_s for one in frames], dtype=np.float64))
