from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.loader import load_profile
from simulators.device import SimulatedBoard
from simulators.devices import only, parse_device
from simulators.jitter import Spread
from simulators.points import Step
from simulators.throttle import Phase, ThermalModel, ThrottleSchedule
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.contracts.errors import IncompatibleError, SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.meters import Board, HostBoard, VirtualClock

PI = load_profile("raspberry-pi-4").snapshot()
STEADY = replace(PI, extra={})  # no jitter, no heat
WARMTH = {
    "ambient_c": 25.0, "resistance_k_per_w": 10.0, "time_constant_s": 60.0, "throttle_c": 80.0, "recover_c": 75.0,
    "throttled_slowdown": 2.0,
}  # fmt: skip
HOT_AT_NOON = ThrottleSchedule(
    (Phase(start_s=10, slowdown=3.0, label="sun"), Phase(start_s=20, slowdown=1.0, label="shade"))
)


def cost(latency_ms: float, energy_uj: float = 300.0) -> Cost:
    def about(value: float) -> Estimate:
        return Estimate(value=value, low=value / 2, high=value * 2, source=Source.ANALYTIC)

    return Cost(latency_ms=about(latency_ms), energy_uj=about(energy_uj), peak_memory_bytes=1, params=1, macs=1)


def test_the_work_is_really_done_and_only_virtual_time_passes() -> None:
    clock = VirtualClock()
    board: Board = SimulatedBoard(STEADY, clock=clock)
    result, usage = board.run(lambda: 6 * 7, cost(1500.0))
    assert result == 42
    assert clock.now_s() == pytest.approx(1.5)
    assert usage.latency_ms == 1500.0
    assert usage.energy_uj == 300.0


def test_every_figure_is_labelled_simulated() -> None:
    board = SimulatedBoard(PI, clock=VirtualClock())
    _, usage = board.run(lambda: None, cost(1.0))
    assert board.label == "raspberry-pi-4 (simulated)"
    assert usage.latency_source is usage.energy_source is Source.SIMULATED


def test_a_phase_stretches_latency_and_energy_while_it_lasts() -> None:
    clock = VirtualClock()
    board = SimulatedBoard(STEADY, clock=clock, schedule=HOT_AT_NOON)
    seen = []
    for when_s in (0, 10, 19, 20):
        clock.sleep_until(when_s)
        status = board.status()
        _, usage = board.run(lambda: None, cost(2.0))
        seen.append((board.phase().label, status.slowdown, status.throttled, usage.latency_ms, usage.energy_uj))
    assert seen == [
        ("rated", 1.0, False, 2.0, 300.0),
        ("sun", 3.0, True, 6.0, 900.0),
        ("sun", 3.0, True, 6.0, 900.0),
        ("shade", 1.0, False, 2.0, 300.0),
    ]


def test_one_seed_makes_one_history() -> None:
    def history(seed: int) -> list[float]:
        board = SimulatedBoard(PI, clock=VirtualClock(), seed=seed)
        return [board.run(lambda: None, cost(1.0))[1].latency_ms for _ in range(50)]

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_jitter_has_the_profiles_spread_and_median_one() -> None:
    board = SimulatedBoard(PI, clock=VirtualClock(), seed=3)
    latencies = sorted(board.run(lambda: None, cost(1.0))[1].latency_ms for _ in range(4000))
    assert statistics.median(latencies) == pytest.approx(1.0, abs=0.01)
    assert latencies[3960] == pytest.approx(1.2046, abs=0.03)  # p99 = exp(2.326 * 0.08)


@given(st.integers(0, 10_000), st.floats(0, 5), st.floats(1, 10))
def test_jitter_never_leaves_its_bounds_and_energy_follows_latency(seed: int, sigma: float, most: float) -> None:
    snapshot = replace(PI, extra={"simulation": {"jitter_sigma": sigma, "jitter_max": most}})
    board = SimulatedBoard(snapshot, clock=VirtualClock(), seed=seed)
    for _ in range(20):
        _, usage = board.run(lambda: None, cost(1.0, 100.0))
        assert 1 / most - 1e-9 <= usage.latency_ms <= most + 1e-9
        assert usage.energy_uj == pytest.approx(100 * usage.latency_ms)


def test_work_that_fails_takes_no_time() -> None:
    clock = VirtualClock()
    with pytest.raises(ZeroDivisionError):
        SimulatedBoard(STEADY, clock=clock).run(lambda: 1 / 0, cost(5.0))
    assert clock.now_s() == 0


def test_a_board_warms_with_work_towards_its_settled_temperature_and_cools_when_idle() -> None:
    clock = VirtualClock()
    board = SimulatedBoard(PI, clock=clock)
    assert board.status().temperature_c == pytest.approx(25 + 10 * 2.5)
    board.run(lambda: None, cost(3600e3))
    assert board.status().temperature_c == pytest.approx(25 + 10 * 3.0, abs=0.01)
    clock.advance(120)
    assert board.status().temperature_c == pytest.approx(50 + 5 / 2.718282, abs=0.01)


def test_a_hot_board_slows_down_until_it_has_cooled_to_its_recovery_temperature() -> None:
    thermal = {**PI.extra["thermal"], "ambient_c": 52.0, "recover_c": 78.0}
    board_clock = VirtualClock()
    board = SimulatedBoard(replace(PI, extra={"thermal": thermal}), clock=board_clock)  # settles at 82 C busy, 77 idle
    assert board.status().slowdown == 1.0
    board.run(lambda: None, cost(600e3))
    assert board.status().throttled
    assert board.run(lambda: None, cost(1.0))[1].latency_ms == 1.5
    board_clock.advance(60)
    assert board.status().throttled  # below 80 C by now, but not below 78
    assert board.status().temperature_c == pytest.approx(80, abs=1.0)
    board_clock.advance(600)
    assert not board.status().throttled


def test_without_a_thermal_section_the_temperature_is_not_known() -> None:
    assert SimulatedBoard(STEADY, clock=VirtualClock()).status().temperature_c is None


@given(st.floats(0, 100), st.floats(0, 20_000), st.floats(0, 500), st.floats(0, 500))
def test_heating_does_not_depend_on_the_steps_it_is_computed_in(
    start_c: float, power_mw: float, first_s: float, second_s: float
) -> None:
    model = ThermalModel(**PI.extra["thermal"])
    at_once = model.after(start_c, power_mw, first_s + second_s)
    assert model.after(model.after(start_c, power_mw, first_s), power_mw, second_s) == pytest.approx(at_once)


def test_schedules_and_models_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SchemaError, match="starts must rise"):
        ThrottleSchedule((Phase(start_s=5, slowdown=1, label="a"), Phase(start_s=5, slowdown=2, label="b")))
    with pytest.raises(SchemaError, match="above 0"):
        Phase(start_s=0, slowdown=0, label="stopped")
    with pytest.raises(SchemaError, match="below throttle_c"):
        ThermalModel(**{**PI.extra["thermal"], "recover_c": 90.0})


def test_a_board_is_made_from_its_name() -> None:
    board = parse_device("simulated:raspberry-pi-4", only(PI), schedule=HOT_AT_NOON, seed=1)
    assert isinstance(board, SimulatedBoard)
    assert board.label == parse_device("simulated", only(PI)).label == "raspberry-pi-4 (simulated)"
    assert isinstance(parse_device("host", only(PI)), HostBoard)


def test_a_device_the_costs_do_not_hold_for_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="say nothing of 'coral-usb'"):
        parse_device("simulated:coral-usb", only(PI))


def test_an_unknown_kind_of_device_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_device("simulate:coral-usb", only(PI))
    assert caught.value.hint == "did you mean simulated?"


def test_the_machine_itself_cannot_be_slowed_down_by_a_schedule() -> None:
    with pytest.raises(UsageError, match="cannot be slowed down"):
        parse_device("host", only(PI), schedule=HOT_AT_NOON)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ThermalModel(**{**WARMTH, "ambient_c": math.nan}), "ambient_c"),
        (lambda: ThermalModel(**{**WARMTH, "resistance_k_per_w": -1.0}), "resistance_k_per_w"),
        (lambda: Spread(sigma=math.inf, most=2.0), "jitter_sigma"),
        (lambda: Step(stretch=math.inf, active_mw=2.0, idle_mw=1.0), "stretch"),
    ],
)
def test_figures_of_a_board_are_finite(make: Callable[[], object], what: str) -> None:
    with pytest.raises(SchemaError, match=what):
        make()
