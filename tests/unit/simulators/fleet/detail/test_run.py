"""A sample of a fleet in detail: as the vector engine has it where nothing is inferred, and whatever the workers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulators.fleet.detail.agreement import agreements, record
from simulators.fleet.detail.choose import choose
from simulators.fleet.detail.crew import Crew
from simulators.fleet.detail.device import Inferring
from simulators.fleet.detail.run import Detail, medium_of, run_detail
from simulators.fleet.detail.settle import settle
from simulators.fleet.engine import run
from simulators.fleet.parts import Fault, FaultKind, Pattern, Placement, PlacementKind, Schedule, Workload
from simulators.fleet.resolve import resolve
from simulators.fleet.scenario import Field, Group, Scenario
from simulators.lorawan.reception import receive
from tamiyo_runtime.contracts.budget import Budget

BUDGET = Budget(latency_ms=4.0, power_mw=0.2, energy_burst_uj=2000.0, airtime_s_per_hour=3.0)


def group(name: str = "soil", count: int = 150, **changes: Any) -> Group:
    work = {one.name for one in dataclasses.fields(Workload)}
    workload = {"report_period_s": 300.0, "payload_bytes": 40, **{k: v for k, v in changes.items() if k in work}}
    given = {"link": "lora-eu868", "placement": Placement(radius_m=2500.0), "data_rate": 2, **changes}
    return Group(
        name=name,
        count=count,
        workload=Workload(**workload),
        **{key: value for key, value in given.items() if key not in work},
    )


def thinking(bundle: Path, name: str = "eyes", count: int = 4, **changes: Any) -> Group:
    return group(name, count, **{"network": str(bundle), "inference_period_s": 5.0, "budget": BUDGET, **changes})


def scenario(*groups: Group, **changes: Any) -> Scenario:
    given: dict[str, Any] = {"name": "test", "days": 1 / 12, "seed": 3, "field": Field(shadowing_db=4.0), **changes}
    return Scenario(devices=groups, **given)


def same(one: Detail, two: Detail) -> bool:
    tables = [(one.devices, two.devices), (one.hours, two.hours)]
    columns = all(
        np.array_equal(mine, theirs, equal_nan=True)
        for first, second in tables
        for (_, mine, _, _), (_, theirs, _, _) in zip(first.columns(), second.columns(), strict=True)
    )
    return columns and all(getattr(one, name) == getattr(two, name) for name in ("configurations", "skips", "rounds"))


def test_a_group_without_a_bundle_is_bit_for_bit_what_the_vector_engine_makes_of_it() -> None:
    resolved = resolve(scenario(group(), group("rain", 60, pattern=Pattern.POISSON, report_period_s=600.0), sample=10))
    (field,) = resolved.lora
    sendings = field.between(0.0, resolved.scenario.duration_s)
    verdicts = receive(field.packets(sendings), field.ears).min(axis=0)
    detail = run_detail(resolved)
    rows = detail.devices
    assert rows.group.tolist() == [0] * 10 + [1] * 10
    ours = [int((field.numbers[sendings.device] == number).sum()) for number in rows.device.tolist()]
    heard = [int((verdicts[field.numbers[sendings.device] == number] == 0).sum()) for number in rows.device.tolist()]
    assert sum(heard) < sum(ours)
    assert rows.frames.tolist() == ours
    assert rows.received.tolist() == heard
    assert rows.made.tolist() == ours
    assert rows.delivered.tolist() == heard
    assert not rows.resent.any()
    assert (rows.samples == -1).all()
    assert np.isnan(rows.energy_mj).all()
    assert detail.configurations == ({},) * 20


def test_every_packet_of_a_region_gets_the_verdict_of_the_vector_engine() -> None:
    resolved = resolve(scenario(group(), group("rain", 60, payload_bytes=20), sample=8))
    (field,) = resolved.lora
    jobs = choose(resolved).jobs
    settled = settle(list(jobs), Crew(jobs).play, medium_of(field, list(jobs)))
    whole = medium_of(field, []).rest
    assert np.array_equal(settled.air.device, whole.device)
    assert np.array_equal(settled.air.packets.start_s, whole.packets.start_s)
    assert np.array_equal(settled.verdicts, receive(whole.packets, field.ears).min(axis=0))
    assert len(set(settled.verdicts.tolist())) > 1


@pytest.mark.parametrize("others", [{}, {"confirmed": True}, {"adr": True}])
def test_figures_agree_with_those_of_the_fleet_engine_whether_or_not_others_listen(others: dict[str, Any]) -> None:
    one = scenario(group(count=60), group("rain", 60, report_period_s=400.0, **others), sample=5)
    resolved = resolve(one)
    detail, result = run_detail(resolved), run(resolved)
    assert set(detail.left_out) == ({"rain"} if others else set())
    rows = detail.devices.device
    assert detail.devices.frames.tolist() == result.devices.packets[rows].tolist()
    assert detail.devices.received.tolist() == result.devices.received[rows].tolist()
    assert detail.devices.received.sum() < detail.devices.frames.sum()
    found = agreements(detail, result)
    assert [each.group for each in found] == [each.name for each in one.devices if each.name not in detail.left_out]
    for each in found:
        assert each.devices == 5
        assert {figure.name: figure.ratio for figure in each.figures} == {
            name: pytest.approx(1.0, rel=1e-9) for name in ("frames", "received", "airtime", "radio")
        }
    json.dumps(record(detail, result), allow_nan=False)


def test_the_rest_is_everybody_else() -> None:
    resolved = resolve(scenario(group(count=20)))
    (field,) = resolved.lora
    everybody, rest = medium_of(field, []).rest, medium_of(field, [3, 7]).rest
    assert set(everybody.device.tolist()) - set(rest.device.tolist()) == {3, 7}


@pytest.fixture
def detail(bundle: Path) -> Detail:
    return run_detail(resolve(scenario(group(), thinking(bundle), sample=4)))


def test_devices_with_a_bundle_keep_their_budgets_and_account_for_every_record(detail: Detail) -> None:
    rows, hours = detail.devices, detail.hours
    eyes = rows.group == 1
    assert (rows.deadline_misses[eyes] == 0).all()
    assert (rows.overdraft_jobs[eyes] <= 1.0).all()
    assert (rows.energy_mj[eyes] <= rows.allowed_mj[eyes] * 1.01).all()
    assert (rows.samples[eyes] == rows.inferences[eyes] + rows.skipped[eyes]).all()
    counted = [sum(counts.values()) for counts in detail.configurations]
    assert counted == rows.inferences.clip(0).tolist()
    assert (rows.busiest_hour_share <= 1.0).all()
    assert (rows.received <= rows.frames).all()
    assert (rows.frames[eyes] > 5).all()
    assert hours.waiting.shape == (8, 2)
    assert (hours.waiting[:, -1] + rows.delivered + rows.dropped == rows.made).all()
    assert rows.dropped.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]  # the first word of a device is too long for DR2
    assert ((hours.oldest_s > 0) == (hours.waiting > 0)).all()
    assert ((hours.link_level > 0) & (hours.link_level <= 1)).all()
    assert (rows.delay_p50_s <= rows.delay_p95_s).all()
    assert (rows.delay_p95_s[eyes] > 60).all()  # windows wait for their end and for company


def test_results_depend_neither_on_the_number_of_workers_nor_on_who_else_is_looked_at(
    bundle: Path, detail: Detail
) -> None:
    resolved = resolve(scenario(group(), thinking(bundle), sample=4))
    assert same(detail, run_detail(resolved, workers=2))
    assert same(detail, run_detail(resolved))


def test_progress_counts_every_run_of_a_device(bundle: Path) -> None:
    seen: list[None] = []
    found = run_detail(resolve(scenario(group(), thinking(bundle), sample=2)), on_day=lambda: seen.append(None))
    assert len(seen) == found.played >= 4


def test_cellular_devices_are_played_alone(bundle: Path) -> None:
    narrow = thinking(bundle, "meter", link="nb-iot", placement=None, data_rate="adaptive", payload_bytes=40)
    found = run_detail(resolve(scenario(narrow, sample=2)))
    assert found.rounds == {}
    assert found.played == 2
    assert (found.devices.delivered > 5).all()
    assert (found.devices.airtime_s > 0).all()
    assert np.isnan(found.devices.busiest_hour_share).all()
    assert (found.hours.link_level == 1).all()
    near = thinking(bundle, "meter", link="nb-iot", placement=Placement(radius_m=300.0), data_rate="adaptive")
    placed = choose(resolve(scenario(near, sample=4))).jobs
    assert len({job.radio.distance_m for job in placed.values()}) == 4  # type: ignore[union-attr]


def test_a_cellular_device_out_of_reach_is_left_out_by_itself(bundle: Path) -> None:
    far = thinking(
        bundle, "meter", link="5g", placement=Placement(kind=PlacementKind.GRID, spacing_m=3500.0), data_rate="adaptive"
    )
    chosen = choose(resolve(scenario(dataclasses.replace(far, count=9), sample=9)))
    assert 4 in chosen.jobs
    assert {f"meter, device {number}" for number in (0, 2, 6, 8)} <= set(chosen.left_out)
    assert len(chosen.jobs) + len(chosen.left_out) == 9
    assert all("no coverage" in why for why in chosen.left_out.values())


def test_a_sample_goes_evenly_through_a_group_and_takes_all_of_a_small_one(bundle: Path) -> None:
    chosen = choose(resolve(scenario(group(count=100), thinking(bundle, count=3), sample=5)))
    assert list(chosen.jobs) == [0, 20, 40, 60, 80, 100, 101, 102]
    jobs = [job for job in chosen.jobs.values() if isinstance(job, Inferring)]
    assert [job.report_s for job in jobs] == [300.0] * 3
    assert len({job.start_s for job in jobs}) == 3


@pytest.mark.parametrize(
    ("changes", "of_fleet", "why"),
    [
        ({"adr": True}, {}, "adapt"),
        ({"link": "nb-iot", "placement": None, "data_rate": "adaptive"}, {}, "no bundle"),
        ({"network": True}, {"schedule": Schedule(from_h=6, to_h=18)}, "schedule"),
        ({"network": True}, {"faults": (Fault(kind=FaultKind.BROWN_OUT),)}, "brown-out"),
        ({"network": True}, {"faults": (Fault(kind=FaultKind.BIT_FLIPS, at_h=1.0),)}, "at_h"),
        ({}, {"days": 500.0}, "packets"),
    ],
)
def test_what_cannot_be_run_in_detail_is_left_out_with_the_reason(
    bundle: Path, changes: dict[str, Any], of_fleet: dict[str, Any], why: str
) -> None:
    one = thinking(bundle) if "network" in changes else group(**changes)
    found = run_detail(resolve(scenario(one, sample=2, **of_fleet)))
    assert why in found.left_out[one.name]
    assert len(found.devices) == 0
    assert found.hours.waiting.shape[0] == 0
    assert math.isclose(found.played, 0)


def test_faults_strike_whom_they_are_for_and_nobody_else(bundle: Path) -> None:
    groups = thinking(bundle, "well"), thinking(bundle, "dull", count=40), thinking(bundle, "flipped")
    faults = (
        Fault(kind=FaultKind.SENSOR_STUCK, devices="dull", at_h=0.5, for_h=1.0, share=0.5),
        *[Fault(kind=FaultKind.BIT_FLIPS, devices="flipped")] * 60,
    )
    jobs = list(choose(resolve(scenario(*groups, faults=faults, sample=40))).jobs.values())
    well, dull, flipped = jobs[:4], jobs[4:44], jobs[44:]
    assert all(isinstance(one, Inferring) for one in jobs)
    assert {(one.stuck, one.flipped_bits) for one in well} == {((), 0)}  # type: ignore[union-attr]
    assert {one.flipped_bits for one in flipped} == {60}  # type: ignore[union-attr]
    struck = [one for one in dull if one.stuck]  # type: ignore[union-attr]
    assert 8 < len(struck) < 32
    assert (struck[0].stuck[0].at_s, struck[0].stuck[0].for_s) == (1800.0, 3600.0)  # type: ignore[union-attr]
    found, whole = (run_detail(resolve(scenario(*groups, faults=some, days=0.02, sample=1))) for some in (faults, ()))
    changed = (found.devices.correct_share != whole.devices.correct_share).tolist()
    assert not changed[0]
    assert changed[2]
