"""Accelerators and arrays: what their profiles claim, and what the engines do."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.accelerator import Accelerator
from device_profiles.cost import Op, OpKind, estimate, explain
from device_profiles.loader import load_profile, profile_ids
from device_profiles.ops import gemm_of
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.device_profiles.engine_checks import (
    ETHOS,
    coral_errors,
    ethos_us,
    held_out_on_ethos,
    scale_sim_errors,
    vela,
)
from tests.unit.device_profiles.published import CORAL_DEV_BOARD, CORAL_OUTLIERS, CORAL_USB3
from tests.unit.device_profiles.tiny_networks import NETWORKS, graph

INT8, FLOAT32 = Precision.INT8, Precision.FLOAT32
TINY = Op(OpKind.FULLY_CONNECTED, macs=64, weight_bytes=72, input_bytes=8, output_bytes=8)
ENGINES = ("coral-usb", "coral-m2", *ETHOS, "jetson-nano", "gpu-server", "cloud-tpu", "generic-asic")

sizes = st.integers(0, 2**24)
ops = st.builds(Op, st.sampled_from(OpKind), sizes, sizes, sizes, sizes, st.booleans())
graphs = st.lists(st.lists(ops, max_size=4), min_size=1, max_size=4)
profiles = st.sampled_from([load_profile(name) for name in profile_ids()])


@given(profiles, graphs, st.sampled_from(Precision))
def test_the_costs_of_the_operators_add_up_to_the_estimate(profile, chain, precision) -> None:
    whole, terms = estimate(profile, chain, precision=precision), explain(profile, chain, precision=precision)
    for end in ("value", "low", "high"):
        latency_us = sum(getattr(term.latency_us, end) for term in terms)
        assert latency_us == pytest.approx(getattr(whole.latency_ms, end) * 1e3)
        energy_uj = sum(getattr(term.energy_uj, end) for term in terms)
        assert energy_uj == pytest.approx(getattr(whole.energy_uj, end))
    assert max(term.live_bytes for term in terms) == whole.activation_bytes
    assert max(term.peak_memory_bytes for term in terms) == whole.peak_memory_bytes
    assert whole.peak_memory_bytes == whole.weight_bytes + whole.activation_bytes
    assert [term.op for term in terms if term.op is not None] == [op for graph in chain for op in graph]
    assert [term.graph for term in terms if term.op is None] == list(range(len(chain)))


def test_an_explanation_needs_a_graph() -> None:
    with pytest.raises(SchemaError, match="at least one graph"):
        explain(load_profile("coral-usb"), [], precision=INT8)


def test_cycles_of_the_array_are_those_of_scale_sim_within_1_percent() -> None:
    assert max(map(abs, scale_sim_errors())) < 0.01


@pytest.mark.parametrize("name", ETHOS)
def test_held_out_networks_rank_on_an_ethos_as_vela_ranks_them(name) -> None:
    held = [network for network, row in vela().items() if row["held_out"]]
    assert len(held) >= 12
    guess, cycles = [ethos_us(name, item) for item in held], [vela()[item]["us"][name] for item in held]
    assert _spearman(guess, cycles) >= 0.9


@pytest.mark.parametrize("name", ETHOS)
def test_vela_lies_in_the_interval_of_at_least_nine_in_ten_held_out_networks(name) -> None:
    factor = 1 + load_profile(name).value("model.relative_error")
    inside = [1 / factor <= 1 + error <= factor for error in held_out_on_ethos(name)]
    assert sum(inside) >= 0.9 * len(inside)


def test_published_edge_tpu_rows_are_met_within_30_percent_but_for_two_networks() -> None:
    errors = coral_errors("coral-usb", CORAL_USB3 | CORAL_OUTLIERS)
    assert {name for name, error in errors.items() if abs(error) > 0.3} == set(CORAL_OUTLIERS)
    on_board = coral_errors("coral-m2", CORAL_DEV_BOARD)
    assert {name for name, error in on_board.items() if abs(error) > 0.3} == {"DenseNet"}


@pytest.mark.parametrize("name", ["coral-usb", "coral-m2"])
def test_no_inference_on_any_edge_tpu_is_below_3_millijoules(name) -> None:
    assert estimate(load_profile(name), [[TINY]], precision=INT8).energy_uj.value >= 3000


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_has_a_floor_and_a_budget_that_small_networks_meet(name) -> None:
    profile = load_profile(name)
    nothing = estimate(profile, [[TINY]], precision=INT8)
    floor_us = profile._dispatch_us()
    assert nothing.latency_ms.value * 1e3 >= floor_us
    limits = profile.budget()
    full = estimate(profile, [graph("kws")], precision=INT8)
    assert nothing.latency_ms.value < limits.latency_ms
    assert full.latency_ms.value < limits.latency_ms
    assert full.energy_uj.value < limits.energy_burst_uj


def test_an_array_that_is_twice_as_wide_is_not_twice_as_fast_on_small_layers() -> None:
    array = load_profile("generic-asic").rates[INT8].systolic
    assert array is not None
    narrow = Op(OpKind.CONV2D, 100 * 9 * 8, 72, 0, 0, gemm=(100, 9, 8))
    assert replace(array, columns=32).cycles(narrow) > array.cycles(narrow)
    wide = Op(OpKind.CONV2D, 4096 * 576 * 64, 576 * 64, 0, 0, gemm=(4096, 576, 64))
    assert replace(array, columns=32).cycles(wide) < 0.55 * array.cycles(wide)


def test_weights_that_do_not_fit_on_the_array_cost_dram_time_and_energy() -> None:
    profile = load_profile("generic-asic")
    fits = Op(OpKind.FULLY_CONNECTED, 200_000, 200_000, 1000, 200, gemm=(1, 1000, 200))
    one, two = (estimate(profile, [[fits] * n], precision=INT8) for n in (1, 2))
    streamed = 200_000 - (262_144 - 1200 - 200_000)
    assert two.energy_uj.value - 2 * one.energy_uj.value > 0.9 * streamed * 200e-6
    term = explain(profile, [[fits] * 2], precision=INT8)[-1]
    assert term.latency_us.value == pytest.approx(0.2 + streamed / 1600)


@pytest.mark.parametrize("network", NETWORKS)
def test_energy_of_the_array_is_counted_and_lies_far_below_that_of_its_controller(network) -> None:
    profile = load_profile("generic-asic")
    on_array = estimate(profile, [graph(network)], precision=INT8).energy_uj
    beside = [replace(op, on_accelerator=False) for op in graph(network)]
    on_host = estimate(profile, [beside], precision=INT8).energy_uj
    arithmetic_uj = sum(op.macs for op in graph(network)) * 0.5e-6
    assert arithmetic_uj < on_array.value < 0.2 * on_host.value
    assert on_array.low < on_array.value < on_array.high


def test_an_array_computes_in_float_only_where_its_profile_says_how_fast() -> None:
    assert load_profile("generic-asic").rates[FLOAT32].systolic is None
    tpu = load_profile("cloud-tpu")
    layer = Op(OpKind.CONV2D, 2**34, 2**20, 2**20, 2**20, gemm=(2**14, 2**10, 2**10))
    real, whole = (explain(tpu, [[layer]], precision=item)[-1].latency_us.value for item in (FLOAT32, INT8))
    assert real == pytest.approx(2 * whole, rel=0.1)


ARRAY = Accelerator(
    floor_us=1.0,
    operator_us=0.0,
    us_per_mac=dict.fromkeys((OpKind.CONV2D, OpKind.DEPTHWISE_CONV2D, OpKind.FULLY_CONNECTED), 1e-3),
    us_per_element_byte=1e-2,
    cache_bytes=0,
    us_per_byte=1e-3,
    us_per_io_byte=0.0,
    overlap=1.0,
    grid=(4, 8, 16),
)


def test_streaming_hides_behind_computing_as_far_as_the_overlap_says() -> None:
    op = Op(OpKind.CONV2D, 4 * 8 * 16 * 10, 0, 0, 0, gemm=(4, 8, 160))
    assert ARRAY.op_us(op, 1000) == pytest.approx(5.12)
    assert replace(ARRAY, overlap=0.0).op_us(op, 1000) == pytest.approx(6.12)
    assert replace(ARRAY, overlap=0.5).op_us(op, 1000) == pytest.approx(5.62)


def test_channels_are_rounded_up_to_what_the_array_takes_at_a_time() -> None:
    nine = Op(OpKind.CONV2D, 4 * 9 * 17, 0, 0, 0, gemm=(4, 9, 17))
    assert ARRAY.op_us(nine, 0) == pytest.approx(4 * 16 * 32 * 1e-3)
    depthwise = Op(OpKind.DEPTHWISE_CONV2D, 4 * 9 * 17, 0, 0, 0, gemm=(4, 9, 1), groups=17)
    assert ARRAY.op_us(depthwise, 0) == pytest.approx(4 * 9 * 32 * 1e-3)


def test_a_product_is_made_up_from_the_sizes_where_nobody_says_which_it_is() -> None:
    dense = Op(OpKind.FULLY_CONNECTED, 128 * 10, 128 * 10, 128, 10, params=128 * 10)
    assert gemm_of(dense) == (1, 128, 10, 1)
    conv = Op(OpKind.CONV2D, 100 * 72 * 16, 72 * 16, 800, 1600, params=72 * 16)
    assert gemm_of(conv) == (100, 72, 16, 1)
    depthwise = Op(OpKind.DEPTHWISE_CONV2D, 100 * 9 * 8, 72, 800, 800, params=72)
    assert gemm_of(depthwise) == (100, 9, 1, 8)


@pytest.mark.parametrize("name", ["generic-asic", "ethos-u55-128", "cloud-tpu"])
def test_engines_are_estimated_fast_enough_for_the_inner_loop_of_growth(name) -> None:
    profile, chain = load_profile(name), [[TINY] * 10] * 4

    def batch_us() -> float:
        started = time.perf_counter()
        for _ in range(20):
            estimate(profile, chain, precision=INT8)
        return (time.perf_counter() - started) / 20 * 1e6

    # 40 operators; the best of twenty, with room for a tracer on a busy machine.
    assert min(batch_us() for _ in range(20)) < 2000


def _spearman(xs: list[float], ys: list[float]) -> float:
    ranks = [{value: rank for rank, value in enumerate(sorted(values))} for values in (xs, ys)]
    count = len(xs)
    squares = sum((ranks[0][x] - ranks[1][y]) ** 2 for x, y in zip(xs, ys, strict=True))
    return 1 - 6 * squares / (count * (count**2 - 1))
