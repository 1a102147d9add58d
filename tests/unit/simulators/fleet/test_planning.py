"""What is planned holds when the engine runs it, and one step beyond does not; what binds is named."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.fleet.engine import run
from simulators.fleet.planning import plan
from simulators.fleet.planning_case import Case
from simulators.fleet.planning_lora import EACH_ITS_OWN, LoRa, varied
from simulators.fleet.planning_question import device_of, link_of
from simulators.fleet.planning_terms import (
    INTERVALS_S,
    SECONDS_A_DAY,
    Cause,
    Configuration,
    Device,
    Goals,
    Plan,
    Planning,
)
from simulators.fleet.resolve import resolve
from simulators.fleet.result import FleetResult
from simulators.fleet.scenario import Battery, Field, Group, Placement, Scenario, Workload
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Estimate, Source
from tamiyo_runtime.contracts.errors import SchemaError


def sure(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, source=Source.ANALYTIC)


def scenario(
    count: int = 50,
    *,
    mah: float = 2400.0,
    radius_m: float = 2000.0,
    payload_bytes: int = 24,
    link: str = "lora-eu868",
    field: Field | None = None,
    **changes: object,
) -> Scenario:
    group = Group(
        name="soil",
        count=count,
        link=link,
        data_rate=3 if link == "lora-eu868" else "adaptive",
        placement=Placement(radius_m=radius_m),
        workload=Workload(report_period_s=600, payload_bytes=payload_bytes),
        sleep_mw=0.05,
        battery=Battery(capacity_mah=mah),
    )
    return Scenario(name="orchard", devices=(replace(group, **changes),), field=field or Field())  # type: ignore[arg-type]


def planned(asked: Scenario, goals: Goals, *, fair_use: bool = False, number: int = 0) -> Planning:
    return plan(link_of(asked, number, fair_use=fair_use), device_of(asked.devices[number]), goals)


def best(found: Planning) -> Plan:
    assert found.recommended is not None
    return found.recommended


def engine(asked: Scenario, one: Plan, *, interval_s: float | None = None, seed: int = 77) -> FleetResult:
    """What the engine makes of a plan, on another fleet of the kind."""
    link = link_of(asked, 0)
    assert isinstance(link, LoRa)
    every_s = one.interval_s if interval_s is None else interval_s
    link.ways()
    varying = varied(asked, 0, data_rate=link.data_rate(one.way), interval_s=every_s)
    group = varying.devices[0]
    days = max(2.0 * every_s, min(400 * every_s, 40_000 / group.count * every_s)) / SECONDS_A_DAY
    return run(resolve(replace(varying, seed=seed, days=days)))


def delivered(result: FleetResult) -> float:
    return float(result.devices.delivered.sum() / result.devices.messages.sum())


def years(result: FleetResult) -> float:
    return float(result.devices.battery_days.min() / 365.25)


def shorter(one: Plan) -> float:
    return INTERVALS_S[INTERVALS_S.index(one.interval_s) - 1]


def test_a_plan_bound_by_the_battery_lasts_as_long_in_the_engine_and_one_step_beyond_does_not() -> None:
    asked, goals = scenario(), Goals(years=2.0)
    one = best(planned(asked, goals))
    assert one.binding is Cause.BATTERY
    held = engine(asked, one)
    assert years(held) == pytest.approx(one.years, rel=0.1)
    assert years(held) >= 0.95 * goals.years
    assert abs(delivered(held) - one.delivery.share) <= one.delivery.error
    assert years(engine(asked, one, interval_s=shorter(one))) < goals.years


def test_a_plan_bound_by_law_is_legal_in_the_engine_and_one_step_beyond_is_refused() -> None:
    asked = scenario(1, mah=1e6, link="lora-eu868-sf12")
    one = best(planned(asked, Goals(years=0.5, delivery=0.5)))
    assert one.binding is Cause.DUTY_CYCLE
    result = engine(asked, one)
    assert not result.devices.over_duty_cycle.any()
    assert float(result.devices.busiest_hour_s.max()) <= 36.0
    with pytest.raises(SchemaError, match="of an hour"):
        engine(asked, one, interval_s=shorter(one))


def test_a_plan_bound_by_collisions_delivers_in_the_engine_and_one_step_beyond_delivers_too_little() -> None:
    asked, goals = scenario(1500), Goals(years=1.0)
    one = best(planned(asked, goals))
    assert one.binding is Cause.COLLISIONS
    shares = [delivered(engine(asked, one, seed=seed)) for seed in (101, 102, 103)]
    assert all(abs(share - one.delivery.share) <= one.delivery.error for share in shares)
    assert min(shares) >= goals.delivery
    beyond = engine(asked, one, interval_s=shorter(one))
    assert delivered(beyond) < one.delivery.least


def test_a_fleet_at_its_own_data_rates_is_held_to_the_slowest_of_them() -> None:
    asked = scenario(200, radius_m=9000.0)
    link = link_of(asked, 0)
    ways = {way.name: way for way in link.ways()}
    own = ways[EACH_ITS_OWN]
    assert own.airtime_s == ways["SF9/125"].airtime_s
    case = Case(link, own, device_of(asked.devices[0]), None)
    one = case.assess(Goals(years=2.0))
    assert isinstance(one, Plan)
    assert years(engine(asked, one)) == pytest.approx(one.years, rel=0.1)
    assert abs(delivered(engine(asked, one)) - one.delivery.share) <= one.delivery.error


def test_where_all_devices_come_to_one_data_rate_there_is_no_way_of_their_own() -> None:
    assert EACH_ITS_OWN not in [way.name for way in link_of(scenario(radius_m=100.0), 0).ways()]


def test_a_link_whose_name_fixes_a_data_rate_leaves_no_other() -> None:
    found = planned(scenario(link="lora-eu868-sf9"), Goals())
    assert [way.name for way in found.ways] == ["SF9/125"]


def test_a_report_that_a_data_rate_does_not_carry_puts_that_out_and_leaves_the_others() -> None:
    found = planned(scenario(payload_bytes=100), Goals())
    out = {one.way: one.cause for one in found.refused}
    assert out == dict.fromkeys(("SF10/125", "SF11/125", "SF12/125", EACH_ITS_OWN), Cause.PAYLOAD)
    assert best(found).way.name == "SF7/125"


def test_what_is_out_of_reach_is_out_for_its_range_and_not_for_collisions() -> None:
    found = planned(scenario(radius_m=12_000.0), Goals(years=0.5))
    out = {one.way: one.cause for one in found.refused}
    assert out["SF7/125"] is Cause.RANGE


def test_overloaded_channels_are_refused_by_a_bound_without_a_run() -> None:
    asked = scenario(40_000)
    link = link_of(asked, 0)
    slow = next(way for way in link.ways() if way.name == "SF12/125")
    found = link.delivery(slow, 300.0)
    assert found.fleets == 0
    assert found.share < 0.02
    few = replace(asked, devices=(replace(asked.devices[0], count=100),))
    assert link_of(few, 0).delivery(slow, 300.0).fleets > 0


@pytest.mark.parametrize("load", [2.1, 3.0])
def test_the_bound_on_overloaded_channels_is_above_what_the_engine_delivers(load: float) -> None:
    asked = scenario(300)
    link = link_of(asked, 0)
    way = next(way for way in link.ways() if way.name == "SF9/125")
    interval_s = 300 * way.airtime_s / 3 / load
    bound = link.delivery(way, interval_s)
    assert bound.fleets == 0
    assert isinstance(link, LoRa)
    assert link._simulated(3, interval_s).share < bound.share


@pytest.mark.parametrize("name", ["SF7/125", "SF10/125"])
def test_nine_of_ten_places_at_the_reach_hear_the_gateway(name: str) -> None:
    asked = scenario(field=Field(shadowing_db=6.0))
    way = next(way for way in link_of(asked, 0).ways() if way.name == name)
    assert way.reach_m is not None
    ring = Placement(kind="ring", radius_m=way.reach_m, inner_m=way.reach_m)  # type: ignore[arg-type]
    group = replace(asked.devices[0], count=4000, placement=ring, data_rate={"SF7/125": 5, "SF10/125": 2}[name])
    field = resolve(replace(asked, devices=(group,))).lora[0]
    heard = field.rssi_dbm.max(axis=0) >= field.ears.sensitivity_dbm[field.modulation]
    assert float(np.mean(heard)) == pytest.approx(0.9, abs=0.015)


def test_fair_use_binds_where_the_law_would_leave_more() -> None:
    asked = scenario(1, mah=1e6, link="lora-eu868-sf12")
    one = best(planned(asked, Goals(years=0.5, delivery=0.5), fair_use=True))
    assert one.binding is Cause.FAIR_USE
    assert one.way.airtime_s * SECONDS_A_DAY / one.interval_s <= 30.0
    assert one.way.airtime_s * SECONDS_A_DAY / shorter(one) > 30.0


def test_fair_use_is_refused_on_a_link_without_airtime() -> None:
    with pytest.raises(SchemaError, match="fair"):
        planned(scenario(link="nb-iot"), Goals(), fair_use=True)


def test_an_interval_that_is_asked_for_is_taken_or_refused_and_the_nearest_is_told() -> None:
    asked = scenario(3)
    assert best(planned(asked, Goals(years=1.0, interval_s=900.0))).interval_s == 900.0
    found = planned(asked, Goals(years=2.0, interval_s=30.0))
    assert found.recommended is None
    near = {one.goal: one for one in found.nearest}
    assert near["interval_s"].plan == best(planned(asked, Goals(years=2.0)))
    longest = near["years"]
    assert best(planned(asked, Goals(years=longest.to * 0.999, interval_s=30.0))).interval_s == 30.0
    assert planned(asked, Goals(years=longest.to * 1.001, interval_s=30.0)).recommended is None


def test_a_delivery_out_of_reach_is_told_with_the_best_there_is() -> None:
    asked = scenario(100, radius_m=20_000.0)
    found = planned(asked, Goals(years=1.0, delivery=0.9))
    assert found.recommended is None
    near = {one.goal: one.to for one in found.nearest}
    assert set(near) == {"delivery"}
    assert best(planned(asked, Goals(years=1.0, delivery=near["delivery"] * 0.999))) is not None


def seeds(*, every_s: float | None = None, **budget: float) -> Device:
    some = tuple(
        Configuration(id=name, accuracy=accuracy, latency_ms=sure(latency), energy_uj=sure(energy))
        for name, accuracy, latency, energy in (("c0", 0.6, 2.0, 100.0), ("c1", 0.9, 8.0, 400.0))
    )
    device = device_of(scenario().devices[0])
    return replace(device, configurations=some, inference_every_s=every_s, budget=Budget(**budget))


def test_of_configurations_that_leave_the_same_interval_the_more_accurate_one_is_taken() -> None:
    link = link_of(scenario(), 0)
    one = best(plan(link, seeds(), Goals(years=2.0, interval_s=900.0)))
    assert one.configuration is not None
    assert one.configuration.id == "c1"
    assert one.inference_every_s == one.interval_s


def test_a_deadline_and_a_burst_put_a_configuration_out_and_name_themselves() -> None:
    link = link_of(scenario(), 0)
    late = plan(link, seeds(latency_ms=5.0), Goals(years=2.0))
    assert {(one.configuration, one.cause) for one in late.refused} == {("c1", Cause.COMPUTE)}
    dear = plan(link, seeds(power_mw=1.0, energy_burst_uj=200.0), Goals(years=2.0))
    assert {(one.configuration, one.cause) for one in dear.refused} == {("c1", Cause.POWER)}


def test_an_accuracy_that_is_wanted_puts_the_cheap_configuration_out() -> None:
    link = link_of(scenario(), 0)
    found = plan(link, seeds(), Goals(years=2.0, accuracy=0.8))
    assert {one.configuration for one in found.refused} == {"c0"}
    none = plan(link, seeds(), Goals(years=2.0, accuracy=0.95))
    assert none.recommended is None
    assert {one.goal: one.to for one in none.nearest}["accuracy"] == 0.9


def test_inferences_that_come_fast_are_paid_for_by_the_battery_and_held_to_the_power_budget() -> None:
    link = link_of(scenario(), 0)
    slow, fast = (best(plan(link, seeds(every_s=every), Goals(years=2.0))) for every in (60.0, 1.0))
    assert fast.interval_s >= slow.interval_s
    assert fast.inference_mw == pytest.approx((fast.configuration or slow.configuration).energy_uj.value * 1e-3)  # type: ignore[union-attr]
    held = plan(link, seeds(every_s=1.0, power_mw=0.05, energy_burst_uj=1e4), Goals(years=0.1))
    assert held.recommended is None
    assert {one.cause for one in held.refused} == {Cause.POWER}


def test_what_reports_leave_of_the_battery_says_how_often_each_configuration_may_run() -> None:
    found = plan(link_of(scenario(), 0), seeds(), Goals(years=2.0, interval_s=900.0))
    one = best(found)
    for inference in found.inferences:
        assert inference.cause is Cause.BATTERY
        assert inference.every_s is not None
        spent_mw = one.radio_mw + one.base_mw + inference.configuration.energy_uj.value * 1e-3 / inference.every_s
        assert found.device.years(spent_mw) == pytest.approx(2.0, rel=1e-6)
    bounded = plan(
        link_of(scenario(), 0), seeds(power_mw=0.001, energy_burst_uj=1e4), Goals(years=2.0, interval_s=900.0)
    )
    assert {inference.cause for inference in bounded.inferences} == {Cause.POWER}


def test_a_device_from_the_mains_is_bound_by_law_or_collisions_alone() -> None:
    asked = scenario(5, battery=None)
    one = best(planned(asked, Goals(years=50.0)))
    assert math.isinf(one.years)
    assert one.binding in (Cause.COLLISIONS, Cause.DUTY_CYCLE, Cause.RADIO)


def test_alternatives_do_not_beat_one_another() -> None:
    found = planned(scenario(400), Goals(years=1.0))
    figures = [(-one.interval_s, one.years, round(one.delivery.share, 3)) for one in found.others]
    assert len(figures) > 1
    for one in figures:
        assert not any(other != one and all(a >= b for a, b in zip(other, one, strict=True)) for other in figures)


def test_other_groups_of_the_field_take_their_share_of_the_air() -> None:
    asked = scenario(100)
    loud = replace(
        asked.devices[0], name="loud", count=300, data_rate=5, workload=Workload(report_period_s=60, payload_bytes=24)
    )
    together = replace(asked, devices=(*asked.devices, loud))
    way = next(way for way in link_of(asked, 0).ways() if way.name == "SF7/125")
    alone, beside = (link_of(one, 0).delivery(way, 600.0).share for one in (asked, together))
    assert beside < alone - 0.05


@settings(max_examples=8, deadline=None)
@given(
    years=st.floats(0.1, 20.0),
    mah=st.floats(200.0, 20_000.0),
    base=st.floats(0.0, 0.5),
    count=st.integers(1, 40),
)
def test_every_plan_meets_its_goals_and_never_beats_the_law(years: float, mah: float, base: float, count: int) -> None:
    asked = scenario(count, mah=mah, sleep_mw=base, radius_m=800.0)
    goals = Goals(years=years, delivery=0.5)
    found = planned(asked, goals)
    for one in (*found.shortest, *found.others):
        assert one.years >= years
        assert one.delivery.least >= 0.5
        assert one.interval_s >= one.way.legal_s
    if found.recommended is not None:
        assert found.recommended.interval_s == min(one.interval_s for one in found.shortest)


@pytest.mark.parametrize(
    ("goals", "field"),
    [
        ({"years": 0.0}, "years"),
        ({"delivery": 1.0}, "delivery"),
        ({"accuracy": 2.0}, "accuracy"),
        ({"interval_s": -1.0}, "interval_s"),
        ({"interval_s": 90_000.0}, "interval_s"),
    ],
)
def test_goals_that_cannot_be_are_refused_by_name(goals: dict[str, float], field: str) -> None:
    with pytest.raises(SchemaError, match=field):
        Goals(**goals)
