"""What the profiles state is what the published rows say."""

from __future__ import annotations

import math
import statistics

import pytest

from device_profiles.cost import Op, OpKind, estimate
from device_profiles.loader import load_profile, profile_ids
from device_profiles.ops import MAC_KINDS
from exporters.backends.flatbuffer import Operator, Tensor
from exporters.ops.counting import count, macs_of
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.device_profiles import fit_cortex_m
from tests.unit.device_profiles.checks import CHECKS
from tests.unit.device_profiles.published import SSD_MOBILENET, SSD_MOBILENET_FLOAT
from tests.unit.device_profiles.tiny_networks import NETWORKS, graph, layers, rows

CORTEX_M = ("cortex-m4", "cortex-m7")
PIS = tuple(name for name in profile_ids() if name.startswith("raspberry-pi"))
INT8 = Precision.INT8


@pytest.mark.parametrize("key", CHECKS, ids=lambda key: f"{key[0]}, {key[1][:40]}, {key[2]}")
def test_a_stated_error_is_the_one_found(key) -> None:
    name, against, figure = key
    blocks = [b for b in load_profile(name).validation if (b.against, b.figure) == (against, figure)]
    errors = [abs(error) for error in CHECKS[key]()]
    assert len(blocks) == 1
    assert blocks[0].rows == len(errors)
    assert blocks[0].mean_error == pytest.approx(statistics.fmean(errors), abs=5.1e-4)
    assert blocks[0].worst_error == pytest.approx(max(errors), abs=5.1e-4)


@pytest.mark.parametrize("name", sorted({key[0] for key in CHECKS}))
def test_no_error_is_stated_that_nothing_computes(name) -> None:
    stated = {(name, block.against, block.figure) for block in load_profile(name).validation}
    assert stated == {key for key in CHECKS if key[0] == name}


@pytest.mark.parametrize("network", NETWORKS)
def test_macs_and_parameters_of_the_tiny_networks_are_counted_exactly(network) -> None:
    stored = layers()[network]
    operators = [_operator(index, *layer[:4]) for index, layer in enumerate(stored["layers"])]
    assert [macs_of(operator) for operator in operators] == [layer[4] for layer in stored["layers"]]
    counted = count(operators)
    assert sum(op.macs for op in counted) == stored["macs"]
    assert sum(op.params for op in counted) == stored["params"]
    assert len(graph(network)) == stored["n_ops"]
    for ours, theirs in zip(graph(network), counted, strict=False):
        assert (ours.kind, ours.macs, ours.gemm, ours.groups, ours.window) == (
            *(theirs.kind, theirs.macs, theirs.gemm, theirs.groups, theirs.window),
        )


@pytest.mark.parametrize("name", fit_cortex_m.BOARDS)
def test_a_held_out_network_on_a_cortex_m_is_estimated_within_12_percent_and_its_energy_within_15(name) -> None:
    misses = fit_cortex_m.held_out(name).values()
    assert statistics.fmean(abs(miss.latency) for miss in misses) <= 0.12
    assert statistics.fmean(abs(miss.energy) for miss in misses) <= 0.15


@pytest.mark.parametrize("name", fit_cortex_m.BOARDS)
def test_a_network_that_ran_on_no_board_is_estimated_within_12_percent_too(name) -> None:
    errors = fit_cortex_m.unseen(name)
    assert set(errors) == {"kws", "vww", "ic"}
    assert all(abs(error) <= 0.12 for error in errors.values())


@pytest.mark.parametrize("name", CORTEX_M)
def test_every_held_out_row_lies_in_the_stated_interval(name) -> None:
    factor = 1 + load_profile(name).value("model.relative_error")
    for network, miss in fit_cortex_m.held_out(name).items():
        assert 1 / factor <= 1 + miss.latency <= factor, network


@pytest.mark.parametrize("name", CORTEX_M)
def test_active_power_is_constant_within_10_percent_over_the_networks(name) -> None:
    power = load_profile(name).figures["power.active_mw"]
    assert power.value == pytest.approx(fit_cortex_m.BOARDS[name].active_mw(), rel=5e-3)
    for network in NETWORKS:
        assert fit_cortex_m.BOARDS[name].active_mw([network]) == pytest.approx(power.value, rel=0.10)
    assert (power.low, power.high) == pytest.approx((power.value * 0.9, power.value * 1.1), rel=5e-3)


def test_another_library_draws_the_same_power_on_the_same_chip() -> None:
    power = load_profile("cortex-m4").figures["power.active_mw"]
    for row in rows("v0.5", "reference Nucleo-L4R5ZI").values():
        assert power.low <= row.energy_uj / row.latency_ms <= power.high


@pytest.mark.parametrize("name", CORTEX_M)
def test_the_rates_of_a_cortex_m_are_those_of_the_fit(name) -> None:
    profile = load_profile(name)
    for kind, rate in zip(fit_cortex_m.CLASSES, fit_cortex_m.rates_for(name), strict=True):
        assert profile.value(f"work.int8.{kind}") == pytest.approx(rate, rel=5e-3)
    for kind, rate in fit_cortex_m.BYTE_CYCLES.items():
        assert profile.value(f"work.int8.{kind}") == rate
    clock = profile.value("compute.clock_mhz")
    assert clock == fit_cortex_m.BOARDS[name].clock_mhz
    assert profile.value("kernels.int8.depth") == fit_cortex_m.DEPTH
    assert profile.value("compute.operator_us") * clock == pytest.approx(fit_cortex_m.OPERATOR_CYCLES, rel=5e-3)
    assert profile.value("compute.dispatch_us") * clock == pytest.approx(fit_cortex_m.DISPATCH_CYCLES, rel=5e-3)


@pytest.mark.parametrize("name", CORTEX_M)
def test_the_cost_model_prices_the_networks_as_the_fit_does(name) -> None:
    board = fit_cortex_m.BOARDS[name]
    for network in NETWORKS:
        cycles = fit_cortex_m.fixed_cycles(network) + fit_cortex_m.macs(network) @ fit_cortex_m.rates_for(name)
        cost = estimate(load_profile(name), [graph(network)], precision=INT8)
        assert cost.latency_ms.value == pytest.approx(cycles / board.clock_mhz * 1e-3, rel=0.01)
        assert cost.energy_uj.low <= board.rows()[network].energy_uj <= cost.energy_uj.high


@pytest.mark.parametrize("name", ["raspberry-pi-3", "raspberry-pi-zero-2", "raspberry-pi-5"])
@pytest.mark.parametrize(("precision", "published"), [("int8", SSD_MOBILENET), ("float32", SSD_MOBILENET_FLOAT)])
def test_rates_of_a_scaled_pi_are_those_of_the_pi_4_times_the_published_ratio(name, precision, published) -> None:
    profile, pi4 = load_profile(name), load_profile("raspberry-pi-4")
    source = "raspberry-pi-3" if name == "raspberry-pi-zero-2" else name  # the same cores
    clocks = load_profile(source).value("compute.clock_mhz") / pi4.value("compute.clock_mhz")
    ratios = [there / here * clocks for there, here in zip(published[source], published["raspberry-pi-4"], strict=True)]
    if precision == "int8":
        assert max(ratios) / min(ratios) < 1.03
    tolerance = 0.01 if precision == "int8" else 0.03
    for kind in MAC_KINDS:
        key = f"work.{precision}.{kind}"
        ratio = profile.value(key) / pi4.value(key)
        assert ratio == pytest.approx(statistics.fmean(ratios), rel=tolerance), kind
        assert (
            profile.figures[key].low / pi4.value(key)
            < min(ratios)
            < max(ratios)
            < profile.figures[key].high / (pi4.value(key))
        )


@pytest.mark.parametrize("name", PIS)
@pytest.mark.parametrize("precision", Precision)
def test_no_inference_on_any_pi_is_ever_within_15_microjoules(name, precision) -> None:
    tiny = Op(OpKind.FULLY_CONNECTED, macs=64, weight_bytes=72, input_bytes=8, output_bytes=8)
    cost = estimate(load_profile(name), [[tiny]], precision=precision)
    assert cost.energy_uj.value > 15
    if name == "raspberry-pi-4":
        assert cost.energy_uj.value >= 30


@pytest.mark.parametrize("name", CORTEX_M)
def test_no_inference_on_a_cortex_m_is_free(name) -> None:
    tiny = Op(OpKind.FULLY_CONNECTED, macs=1, weight_bytes=5, input_bytes=1, output_bytes=1)
    profile = load_profile(name)
    cost = estimate(profile, [[tiny]], precision=INT8)
    floor_us = profile.value("compute.dispatch_us") + profile.value("compute.operator_us")
    assert cost.latency_ms.value * 1e3 >= floor_us


@pytest.mark.parametrize(
    "boards",
    [("raspberry-pi-zero-2", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5"), ("cortex-m4", "cortex-m7")],
)
@pytest.mark.parametrize("precision", Precision)
def test_a_better_board_of_a_kind_is_faster_at_every_class_of_operator(boards, precision) -> None:
    rates = [load_profile(name).rates[precision] for name in boards]
    for kind in OpKind:
        times = [item.work_us[kind] for item in rates]
        assert times == sorted(set(times), reverse=True), kind
    for floors in ([item.dispatch_us for item in rates], [item.operator_us for item in rates]):
        assert floors == sorted(set(floors), reverse=True)


def _operator(index: int, code: str, image: list[int], filters: list[int], out: list[int]) -> Operator:
    """A layer with its int32 bias, one a channel, as it stands in the file."""
    return Operator(
        index=index,
        code=code,
        version=1,
        inputs=(
            _tensor("x", image, "int8", constant=False),
            _tensor("w", filters, "int8", constant=True),
            _tensor("b", [out[-1]], "int32", constant=True),
        ),
        outputs=(_tensor("y", out, "int8", constant=False),),
        options={},
        values={},
    )


def _tensor(name: str, shape: list[int], dtype: str, *, constant: bool) -> Tensor:
    assert math.prod(shape) > 0
    return Tensor(name=name, shape=tuple(shape), dtype=dtype, constant=constant, scales=(), zero_points=())
