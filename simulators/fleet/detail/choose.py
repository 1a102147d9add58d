"""Which devices of a fleet are run in detail, and as what. A group that cannot be is left out, with the reason.

A group with a bundle that infers runs it; its telemetry sums up at least one report period at a time. Any other sends
its fixed payload, filled up round a record of its own, when the vector engine has it send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulators.faults.disturbed import STUCK, SensorFault
from simulators.fleet.answered import listens
from simulators.fleet.cellular import NEAREST_M
from simulators.fleet.detail.cell import Cell
from simulators.fleet.detail.device import Inferring, Job, Reporting, load
from simulators.fleet.detail.link import Radio
from simulators.fleet.faults import struck
from simulators.fleet.group import Group
from simulators.fleet.kinds import CellularKind
from simulators.fleet.lora import LoraField
from simulators.fleet.placing import positions
from simulators.fleet.resolve import Resolved
from simulators.fleet.scenario import Fault, FaultKind, Scenario
from simulators.lorawan.chips import device_radios
from simulators.lorawan.streams import Ints, Purpose, uniforms
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget

MOST_PACKETS = 20_000_000
"""Of a region whose devices are run in detail: all of them are held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Jobs by number of the device, groups in order. ``left_out``: why, by name of a group, or of a device of it."""

    jobs: Mapping[int, Job]
    left_out: Mapping[str, str]


def choose(resolved: Resolved) -> Chosen:
    """Up to as many devices of each group as the scenario has for its ``sample``, evenly through it.

    Opens the groups' bundles and compiles their graphs; raises what that raises.
    """
    scenario, jobs, left_out = resolved.scenario, dict[int, Job](), dict[str, str]()
    for number, group in enumerate(scenario.devices):
        field = resolved.field_of(number)
        reason = _reason(scenario, group, field)
        if reason is not None:
            left_out[group.name] = reason
            continue
        count = min(scenario.sample, group.count)
        some = scenario.first_of(number) + np.arange(count) * group.count // max(1, count)
        bundle = Bundle.open(Path(group.network)) if group.network is not None and _infers(group) else None
        if bundle is not None:
            load(bundle)
        times = {} if bundle is not None else _times(scenario, field, some)
        for device in some.tolist():
            job = _job(scenario, group, field, device, messages=times.get(device, ()), bundle=bundle)
            if isinstance(job.radio, Cell) and (why := job.radio.out_of_reach()) is not None:
                left_out[f"{group.name}, device {device}"] = why
                continue
            jobs[device] = job
    return Chosen(jobs=jobs, left_out=left_out)


def _reason(scenario: Scenario, group: Group, field: LoraField | None) -> str | None:
    if group.listens:
        return "its devices adapt, join or ask for acknowledgements, which detailed devices do not"
    if field is not None and field.timing.expected() > MOST_PACKETS:
        return f"its region sends about {field.timing.expected():.3g} packets, more than {MOST_PACKETS}: fewer days"
    if not _infers(group):
        if field is None:
            return "it has a cellular link and no bundle that infers: there is nothing to see in detail"
        return None
    if scenario.schedule is not None:
        return "devices that infer are not run in detail under a schedule"
    for fault in scenario.faults:
        if fault.devices in (None, group.name) and fault.kind in (FaultKind.BROWN_OUT, FaultKind.CLOCK_DRIFT):
            return f"devices that infer are not run in detail under {fault.kind}"
        if fault.devices in (None, group.name) and fault.kind is FaultKind.BIT_FLIPS and fault.start_s > 0:
            return "bits that flip in detail are flipped from the start on: leave out at_h"
    return None


def _infers(group: Group) -> bool:
    return group.network is not None and group.workload.inference_period_s is not None


def _times(scenario: Scenario, field: LoraField | None, some: Ints) -> dict[int, tuple[tuple[int, float], ...]]:
    """Number and time of each message of these devices, as the vector engine draws them."""
    assert field is not None
    sendings = field.between(0.0, scenario.duration_s)
    numbers, wanted = field.numbers[sendings.device], set(some.tolist())
    return {
        device: tuple(zip(sendings.message[mine].tolist(), sendings.start_s[mine].tolist(), strict=True))
        for device in wanted
        for mine in [np.flatnonzero(numbers == device)]
    }


def _job(
    scenario: Scenario,
    group: Group,
    field: LoraField | None,
    device: int,
    *,
    messages: tuple[tuple[int, float], ...],
    bundle: Bundle | None,
) -> Job:
    link = _cell(scenario, group, device) if field is None else _radio(scenario, group, field, device, messages)
    if bundle is None:
        times = tuple(when_s for _, when_s in messages)
        return Reporting(radio=link, times_s=times, end_s=scenario.duration_s)
    period_s = group.workload.report_period_s
    phase = float(uniforms(scenario.seed, Purpose.PHASE, device, 0)[0])
    return Inferring(
        radio=link,
        bundle=bundle,
        period_s=group.workload.inference_period_s or 0.0,
        start_s=phase * min(period_s, scenario.duration_s / 2),
        end_s=scenario.duration_s,
        report_s=period_s,
        budget=group.budget if group.budget != Budget() else None,
        stuck=tuple(
            SensorFault(name=STUCK, at_s=fault.start_s, for_s=fault.end_s - fault.start_s)
            for fault in _faults(scenario, group, device, FaultKind.SENSOR_STUCK)
        ),
        flipped_bits=len(_faults(scenario, group, device, FaultKind.BIT_FLIPS)),
    )


def _faults(scenario: Scenario, group: Group, device: int, kind: FaultKind) -> list[Fault]:
    """Those of a kind that strike a device."""
    number = np.array([scenario.devices.index(group)])
    return [
        fault
        for place, fault in enumerate(scenario.faults)
        if fault.kind is kind and bool(struck(scenario, place, np.array([device]), number)[0])
    ]


def _radio(
    scenario: Scenario, group: Group, field: LoraField, device: int, messages: tuple[tuple[int, float], ...]
) -> Radio:
    place = int(np.searchsorted(field.numbers, device))
    return Radio(
        seed=scenario.seed,
        number=device,
        region=field.region,
        channels=field.channels,
        data_rate=int(field.data_rate[place]),
        power_index=int(field.power_index[place]),
        power_dbm=float(field.power_dbm[place]) - scenario.field.device_antenna_dbi,
        chip=device_radios.get(group.radio),
        end_s=scenario.duration_s,
        filled_bytes=None if _infers(group) else group.workload.payload_bytes,
        addresses=() if listens(field) else tuple(index for index, _ in messages),
    )


def _cell(scenario: Scenario, group: Group, device: int) -> Cell:
    kind, distance_m = group.kind, None
    assert isinstance(kind, CellularKind)
    if group.placement is not None:
        first = scenario.first_of(scenario.devices.index(group))
        x, y = positions(group.placement, first + np.arange(group.count), seed=scenario.seed)
        distance_m = max(NEAREST_M, round(float(np.hypot(x, y)[device - first])))
    return Cell(
        seed=scenario.seed,
        number=device,
        preset=kind.preset,
        distance_m=kind.options.get("distance_m", distance_m),
        speed_m_s=kind.options.get("speed_m_s"),
        end_s=scenario.duration_s,
    )
