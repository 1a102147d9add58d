"""Operating points: what profiles say of them, and what a board makes of them."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.cost import Op, OpKind, estimate
from device_profiles.loader import load_profile
from device_profiles.points import read_points
from simulators.device import SimulatedBoard
from simulators.devices import only, parse_device
from simulators.points import Ladder
from simulators.throttle import Heat, ThermalModel, heated
from tamiyo_runtime.contracts.errors import SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.meters import VirtualClock
from tests.unit.device_profiles.tiny_networks import graph, rows
from tests.unit.simulators.test_device import PI, STEADY, cost

POINTED = ("raspberry-pi-4", "cortex-m4", "cortex-m7", "coral-m2")
CALM = replace(PI, extra={**PI.extra, "simulation": {}})
HOT = ThermalModel(**{**PI.extra["thermal"], "ambient_c": 54.0, "recover_c": 78.0})


@pytest.mark.parametrize("name", POINTED)
def test_a_slower_clock_draws_less_power_and_the_rated_point_is_the_profiles(name: str) -> None:
    profile = load_profile(name)
    clocks, powers = [p.clock_mhz for p in profile.points], [p.active_mw for p in profile.points]
    assert clocks == sorted(clocks)
    assert powers == sorted(set(powers))
    rated = next(point for point in profile.points if point.rated)
    assert (rated.active_mw, rated.idle_mw) == (profile.value("power.active_mw"), profile.value("power.idle_mw"))
    assert all(point.idle_mw <= point.active_mw for point in profile.points)


def test_power_between_points_goes_as_clock_times_voltage_squared() -> None:
    low = load_profile("raspberry-pi-4").points[0]
    assert low.clock_mhz == 600
    assert low.active_mw == pytest.approx(2500 + 500 * 0.4 * (0.80 / 0.86) ** 2)


@pytest.mark.parametrize("network", ["kws", "vww", "ic"])
def test_the_law_of_points_is_that_of_a_chip_whose_two_points_were_published_within_20_percent(network: str) -> None:
    """Syntiant NDP9120, MLPerf Tiny v1.2: 0.9 V at 30 MHz and 1.1 V at 98 MHz."""
    slow = rows("v1.2", "syntiant syntiant_9120_0v9_30mhz")[network]
    fast = rows("v1.2", "syntiant syntiant_9120_1v1_98mhz")[network]
    by_law = 98 / 30 * (1.1 / 0.9) ** 2
    metered = (fast.energy_uj / fast.latency_ms) / (slow.energy_uj / slow.latency_ms)
    assert 1.0 < by_law / metered < 1.2
    stretch = slow.latency_ms / fast.latency_ms
    assert 0.9 < stretch / (98 / 30) < 1.0  # some of the time keeps to no clock


@pytest.mark.parametrize("name", ["raspberry-pi-4", "cortex-m4", "coral-m2"])
@pytest.mark.parametrize("network", ["ad", "kws", "ic"])
def test_a_cost_split_by_clock_is_the_cost_of_a_profile_at_that_clock(name: str, network: str) -> None:
    profile = load_profile(name)
    ops = [graph(network)]
    whole = estimate(profile, ops, precision=Precision.INT8)
    rates = profile.rates[Precision.INT8]
    if rates.accelerator is None:
        kernels = rates.kernels and replace(
            rates.kernels,
            window_us=rates.kernels.window_us * 2,
            output_us={kind: 2 * us for kind, us in rates.kernels.output_us.items()},
            code_us={code: 2 * us for code, us in rates.kernels.code_us.items()},
        )
        slow = replace(
            rates,
            dispatch_us=rates.dispatch_us * 2,
            operator_us=rates.operator_us * 2,
            work_us={kind: 2 * us for kind, us in rates.work_us.items()},
            kernels=kernels,
        )
        assert whole.unclocked_ms == 0
    else:
        engine = replace(
            rates.accelerator,
            us_per_mac={kind: 2 * us for kind, us in rates.accelerator.us_per_mac.items()},
            us_per_element_byte=2 * rates.accelerator.us_per_element_byte,
            operator_us=2 * rates.accelerator.operator_us,
        )
        slow = replace(rates, accelerator=engine)
        assert whole.unclocked_ms >= 1.293  # the floor
    at_half = estimate(replace(profile, rates={Precision.INT8: slow}), ops, precision=Precision.INT8)
    clocked = whole.latency_ms.value - whole.unclocked_ms
    assert whole.unclocked_ms + 2 * clocked == pytest.approx(at_half.latency_ms.value)


def test_memory_off_the_chip_keeps_to_no_clock_of_an_array() -> None:
    array = load_profile("generic-asic")
    streamed = Op(OpKind.FULLY_CONNECTED, 1_000_000, 1_000_000, 1000, 1000, gemm=(1, 1000, 1000))
    found = estimate(array, [[streamed]], precision=Precision.INT8)
    assert 0.5 * found.latency_ms.value < found.unclocked_ms < found.latency_ms.value


def test_a_chosen_clock_stretches_what_is_clocked_and_saves_energy() -> None:
    board = SimulatedBoard(CALM, clock=VirtualClock(), clock_mhz=600)
    status = board.status()
    assert (status.slowdown, status.throttled) == (2.5, False)
    _, usage = board.run(lambda: None, cost(2.0))
    assert usage.latency_ms == pytest.approx(5.0)
    low = load_profile("raspberry-pi-4").points[0]
    assert usage.energy_uj == pytest.approx(300 * 2.5 * low.active_mw / 3000)
    _, usage = board.run(lambda: None, replace(cost(2.0), unclocked_ms=1.5))
    assert usage.latency_ms == pytest.approx(1.5 + 0.5 * 2.5)


def test_a_board_is_made_at_a_point_and_what_is_none_is_refused_with_those_there_are() -> None:
    board = parse_device("simulated:raspberry-pi-4?mhz=1000", only(PI))
    assert board.status().slowdown == 1.5
    with pytest.raises(UsageError, match="no operating point at 700 MHz") as caught:
        parse_device("simulated?mhz=700", only(PI))
    assert caught.value.hint == "it has 600, 1000, 1500 MHz"
    with pytest.raises(UsageError, match="names no operating points"):
        parse_device("simulated?mhz=700", only(STEADY))
    with pytest.raises(UnknownNameError, match="mhzz"):
        parse_device("simulated?mhzz=700", only(PI))
    with pytest.raises(UsageError, match="is no number"):
        parse_device("simulated?mhz=fast", only(PI))
    with pytest.raises(UsageError, match="host has no options"):
        parse_device("host?mhz=600", only(PI))


def test_heat_takes_the_clock_down_step_by_step_and_up_again() -> None:
    extra = {"points": PI.extra["points"], "thermal": {**PI.extra["thermal"], "ambient_c": 53.0, "recover_c": 79.8}}
    board = SimulatedBoard(replace(PI, extra=extra), clock=VirtualClock())  # settles at 83 C at 1500 MHz, 79.7 at 600
    seen = []
    for _ in range(900):
        board.run(lambda: None, cost(1000.0))
        seen.append(board.status().slowdown)
    turns = [now for before, now in pairwise(seen) if now != before]
    assert seen[0] == 1.0
    assert turns[:2] == [1.5, 2.5]
    assert turns[2] == 1.5
    assert board.status().throttled


def test_a_chosen_clock_is_not_left_upwards_however_cool_it_is() -> None:
    ladder = Ladder.of(PI, clock_mhz=600)
    assert heated(HOT, ladder, Heat(20.0, 0), 3600.0, busy=False).step == 0


@given(
    st.floats(20, 95),
    st.integers(0, 2),
    st.booleans(),
    st.lists(st.floats(0.01, 500), min_size=1, max_size=6),
)
def test_stepping_does_not_depend_on_the_stretches_it_is_computed_in(start_c, step, busy, stretches) -> None:
    ladder = Ladder.of(PI)
    at_once = heated(HOT, ladder, Heat(start_c, step), sum(stretches), busy=busy)
    heat = Heat(start_c, step)
    for seconds in stretches:
        heat = heated(HOT, ladder, heat, seconds, busy=busy)
    assert heat.temperature_c == pytest.approx(at_once.temperature_c, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 600, low = 600", "value = 1000, low = 600", "low <= value"),
        (
            "[points.low]\nclock_mhz = { value = 600, low = 600, high = 600",
            "[points.low]\nclock_mhz = { value = 1000, low = 1000, high = 1000",
            "two points have one clock",
        ),
        (
            "[points.rated]\nclock_mhz = { value = 1500, low = 1500, high = 1500",
            "[points.rated]\nclock_mhz = { value = 1400, low = 1400, high = 1400",
            "none is at 1500 MHz",
        ),
        ("volts = { value = 0.80,", "vols = { value = 0.80,", "unknown key 'vols'"),
        ("[points.low]", "[points.LOW]", "lower-case"),
        (
            'volts = { value = 0.86, low = 0.84, high = 0.88, unit = "V", source = "core-volts" }',
            "",
            "says nothing of its power",
        ),
        (
            'volts = { value = 0.86, low = 0.84, high = 0.88, unit = "V", source = "core-volts" }',
            'active_mw = { value = 3000, low = 3000, high = 3000, unit = "mW", source = "board" }',
            "the rated point, 1500 MHz, draws",
        ),
        (
            'volts = { value = 0.80, low = 0.78, high = 0.86, unit = "V", source = "core-volts" }',
            'active_mw = { value = 2400, low = 2000, high = 3000, unit = "mW", source = "board" }',
            "above the active",
        ),
        ("[points.low]\nclock_mhz =", "[points.low]\nidle_mw =", "missing key 'clock_mhz'"),
    ],
)
def test_points_that_do_not_fit_together_are_refused(tmp_path, old: str, new: str, message: str) -> None:
    text = resources.files("device_profiles").joinpath("data/raspberry-pi-4.toml").read_text()
    assert old in text
    path = tmp_path / "my.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(SchemaError, match=message):
        load_profile(str(path))


def test_points_that_are_no_tables_are_refused() -> None:
    with pytest.raises(SchemaError, match="must hold tables"):
        read_points(3, {}, path="my.toml")
    with pytest.raises(SchemaError, match=r"my.toml: points.low: must be a table, got 600"):
        read_points({"low": 600}, {}, path="my.toml")
