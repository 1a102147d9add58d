"""A battery that has to last: rations by charge and time left, and a session that lives by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.battery import batteries
from simulators.device import SimulatedBoard
from simulators.faults.outage import PowerLost
from simulators.power_pack import PowerPack
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import BudgetError, SchemaError
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.mission import RESERVE, REVIEWS, Mission, Rationing, ration_mw
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.summary import SessionSummary
from tests.unit.tamiyo_runtime.test_session import Recorder

SECONDS, PERIOD_S = 30.0, 0.01
HOURS = SECONDS / 3600.0
BATTERY_MWH = 0.27
"""Of the tiny bundle's board: with all seeds on all the time it lasts two thirds of that, waiting thrice as long."""
SUPPLY_V = 3.3


def profile(*, active_mw: float = 100.0, idle_mw: float = 10.0) -> ProfileSnapshot:
    return ProfileSnapshot(
        id="p",
        revision=1,
        sha256="0" * 64,
        active_mw=active_mw,
        idle_mw=idle_mw,
        memory_bytes=1 << 20,
        relative_error=0.3,
        budget=Budget(),
    )


@pytest.mark.parametrize("name", ["battery_mwh", "hours"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_mission_of_nothing_or_for_ever_is_refused(name: str, value: float) -> None:
    with pytest.raises(SchemaError, match=name):
        Mission(**{"battery_mwh": 1.0, "hours": 1.0, name: value})


@given(active=st.floats(1.0, 1e4), share_idle=st.floats(0.0, 0.99), busy=st.floats(0.0, 1.0))
def test_a_board_whose_inferences_draw_their_ration_draws_what_the_battery_gives(
    active: float, share_idle: float, busy: float
) -> None:
    idle = active * share_idle
    mean = active * busy + idle * (1 - busy)
    assert ration_mw(mean, profile(active_mw=active, idle_mw=idle)) == pytest.approx(active * busy, abs=1e-6 * active)


def test_a_board_that_draws_always_the_same_has_what_is_beyond_that() -> None:
    assert ration_mw(12.0, profile(active_mw=10.0, idle_mw=10.0)) == pytest.approx(2.0)


def test_with_a_gauge_what_is_left_goes_to_the_time_that_is_left() -> None:
    mission = Mission(battery_mwh=1000.0, hours=10.0)
    assert mission.mean_mw(0.0, 1.0) == pytest.approx(90.0)  # a tenth is kept
    assert mission.mean_mw(5 * 3600.0, 0.7) == pytest.approx(120.0)
    assert mission.mean_mw(5 * 3600.0, 0.05) == 0.0
    assert mission.mean_mw(5 * 3600.0, None) == pytest.approx(90.0)  # nobody knows better


def test_a_battery_that_does_not_last_even_if_nothing_runs_is_refused() -> None:
    with pytest.raises(BudgetError, match="does not last 24 h even if nothing is run") as error:
        Rationing(Mission(battery_mwh=240.0, hours=24.0), profile(), started_s=0.0, charge=1.0)
    assert "--mission-hours" in str(error.value.hint)


def test_one_that_is_under_way_goes_on_with_next_to_nothing() -> None:
    mission = Mission(battery_mwh=240.0, hours=24.0, under_way=True)
    rationing = Rationing(mission, profile(), started_s=0.0, charge=1.0)
    power_mw = rationing.applied(Budget(), 1.0).power_mw
    assert power_mw is not None
    assert 0 < power_mw < 1e-3


@given(charges=st.lists(st.floats(0.0, 1.0), min_size=REVIEWS, max_size=REVIEWS), own_mw=st.floats(0.1, 1e3))
def test_a_budget_is_never_exceeded_and_a_ration_is_never_more_than_the_charge_gives(
    charges: list[float], own_mw: float
) -> None:
    mission = Mission(battery_mwh=1000.0, hours=10.0)
    rationing = Rationing(mission, profile(), started_s=5.0, charge=1.0)
    own = Budget(power_mw=own_mw, energy_burst_uj=1e4)
    for index, charge in enumerate(charges[:-1], start=1):
        now_s = 5.0 + index * 36000.0 / REVIEWS
        before = rationing.ration_mw
        changed = rationing.review(now_s, charge)
        assert not rationing.review(now_s, 1.0 - charge)  # not so soon again
        allowed = rationing.applied(own, 1.0).power_mw
        assert allowed is not None
        assert allowed <= own_mw
        assert changed == (rationing.ration_mw != before)
        assert rationing.ration_mw is not None
        given_mw = max(0.0, ration_mw(mission.mean_mw(now_s - 5.0, charge), profile()))
        assert rationing.ration_mw <= given_mw / 0.95 + 1e-5
    assert rationing.review(5.0 + 36000.0, 0.5)
    assert rationing.applied(own, 1.0) == own  # the mission is over
    assert not rationing.review(1e9, 0.5)


def test_a_gauge_that_fails_leaves_the_ration_as_it_is() -> None:
    rationing = Rationing(Mission(battery_mwh=1000.0, hours=10.0), profile(), started_s=0.0, charge=1.0)
    assert rationing.review(5 * 3600.0, 0.3)
    scarce_mw = rationing.ration_mw
    assert not rationing.review(6 * 3600.0, None)
    assert rationing.ration_mw == scarce_mw == pytest.approx((40.0 - 10.0) / 0.9)
    assert rationing.review(36000.0, None)
    assert rationing.ration_mw is None


def test_where_there_is_no_energy_budget_the_bucket_holds_a_ration_of_some_length() -> None:
    rationing = Rationing(Mission(battery_mwh=1000.0, hours=10.0), profile(), started_s=0.0, charge=1.0)
    made = rationing.applied(Budget(latency_ms=5.0), 100.0)
    assert made.latency_ms == 5.0
    assert made.power_mw == pytest.approx((90.0 - 10.0) / 0.9)
    assert made.energy_burst_uj == pytest.approx((90.0 - 10.0) / 0.9 * 36000.0 / REVIEWS * 1e3)
    dear = rationing.applied(Budget(), 1e9).energy_burst_uj
    assert dear is not None
    assert dear >= 4e9  # to go up takes a reserve of a quarter


def session(
    bundle: Bundle, *, samples: int = round(SECONDS / PERIOD_S), **plan: Any
) -> tuple[SimulatedBoard, Session, Recorder]:
    cell = replace(batteries.get("li-ion-18650"), capacity_mah=BATTERY_MWH / SUPPLY_V, resistance_ohm=0.0)
    pack = PowerPack(battery=cell, supply_v=SUPPLY_V)
    board, recorder = SimulatedBoard(bundle.manifest.profile, clock=VirtualClock(), pack=pack), Recorder()
    made = Session(
        bundle.manifest,
        Executor(bundle, "int8"),
        board=board,
        source=open_source("bundle", bundle),
        reporter=recorder,
        plan=Plan(samples=samples, period_s=PERIOD_S, budget=Budget(), **plan),
    )
    return board, made, recorder


def test_a_battery_lasts_as_long_as_its_mission_and_not_much_longer(tiny_bundle: Bundle) -> None:
    _, free, _ = session(tiny_bundle)
    with pytest.raises(PowerLost):
        free.run()
    board, rationed, recorder = session(tiny_bundle, mission=Mission(battery_mwh=BATTERY_MWH, hours=HOURS))
    summary: SessionSummary = rationed.run()
    assert summary.samples == SECONDS / PERIOD_S
    charge = board.status().battery
    assert charge is not None
    assert RESERVE - 0.02 < charge < RESERVE + 0.1
    assert 0 < len(recorder.seen(Event.BUDGET)) <= REVIEWS
    assert summary.inferences > 0.8 * summary.samples
    assert summary.counts["c00"] > 0


def test_after_the_mission_the_budget_holds_as_it_is(tiny_bundle: Bundle) -> None:
    mission = Mission(battery_mwh=BATTERY_MWH / 10, hours=HOURS / 10)
    board, rationed, recorder = session(tiny_bundle, samples=600, mission=mission)
    summary = rationed.run()
    assert summary.samples == 600
    assert recorder.seen(Event.BUDGET)[-1].endswith("-> inf")
    assert board.clock.now_s() > HOURS * 360
