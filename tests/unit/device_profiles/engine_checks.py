"""Checks of the profiles with an engine beside the CPU, from the rows in tests/data and `published`."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from device_profiles.cost import Op, OpKind, estimate, explain
from device_profiles.loader import load_profile
from device_profiles.ops import MAC_KINDS
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.device_profiles.published import (
    CORAL_DEV_BOARD,
    CORAL_OUTLIERS,
    CORAL_USB3,
    JETSON_NANO,
    SCALE_SIM_CYCLES,
    CoralRow,
    JetsonRow,
)
from tests.unit.device_profiles.tiny_networks import DATA, graph

INT8, FLOAT32 = Precision.INT8, Precision.FLOAT32
ETHOS = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
_HALF = {"float32": FLOAT32, "float16": INT8}  # half precision stands for int8 on a GPU
_HELD_OUT_OPERATORS = ("fc-512", "dw3-16x32", "conv1-64x32", "conv3-256x56", "dw3-512x28", "add-chain-16")


@functools.cache
def vela() -> dict[str, Any]:
    """By network: held_out, us by profile, and ops."""
    found: dict[str, Any] = json.loads((DATA / "vela_rows.json").read_text())["networks"]
    return found


def vela_graph(network: str) -> list[Op]:
    """The operators of one of the networks that Vela compiled."""
    return [
        Op(OpKind(kind), *sizes, code=code, gemm=None if gemm is None else tuple(gemm), groups=groups)
        for code, kind, *sizes, gemm, groups in vela()[network]["ops"]
    ]


def ethos_us(profile: str, network: str) -> float:
    """Estimated time on the array, us: what Vela counts has no driver call."""
    terms = explain(load_profile(profile), [vela_graph(network)], precision=INT8)
    return sum(term.latency_us.value for term in terms if term.op is not None)


def held_out_on_ethos(profile: str) -> list[float]:
    """Relative errors over the networks that took no part in the fit."""
    return [ethos_us(profile, name) / row["us"][profile] - 1 for name, row in vela().items() if row["held_out"]]


def coral_errors(profile: str, rows: Mapping[str, CoralRow]) -> dict[str, float]:
    """Relative errors of whole networks of one convolution with all MACs and weights."""
    found = {}
    for name, row in rows.items():
        image, macs, weights = 3 * row.side**2, round(row.mega_macs * 1e6), round(row.mega_params * 1e6)
        op = Op(OpKind.CONV2D, macs, weights, image, 0)
        cost = estimate(load_profile(profile), [[op]], precision=INT8)
        found[name] = cost.latency_ms.value / row.ms - 1
    return found


def _jetson() -> list[float]:
    return [jetson_ms(row) / (1e3 / row.frames_per_s) - 1 for row in JETSON_NANO.values()]


def jetson_ms(row: JetsonRow) -> float:
    """A network of the right work and number of operators, in half precision."""
    work = {
        OpKind.CONV2D: row.conv,
        OpKind.DEPTHWISE_CONV2D: row.depthwise,
        OpKind.FULLY_CONNECTED: row.dense,
    }
    ops = [Op(kind, macs, 0, 0, 0) for kind, macs in work.items() if macs]
    ops += [Op(OpKind.ELEMENTWISE, 0, 0, 0, 0)] * (row.operators - len(ops))
    return estimate(load_profile("jetson-nano"), [ops], precision=INT8).latency_ms.value


def h100_errors(dtype: str) -> list[float]:
    """Relative errors of the runs that took no part in the fit."""
    rows = json.loads((DATA / "h100_rows.json").read_text())["rows"]
    errors = []
    for row in rows:
        if row["dtype"] == dtype and (row["name"].startswith("net") or row["name"] in _HELD_OUT_OPERATORS):
            cost = estimate(load_profile("gpu-server"), [_h100_graph(row)], precision=_HALF[dtype])
            errors.append(cost.latency_ms.value * 1e3 / row["graph_copy_p50_us"] - 1)
    return errors


def _h100_graph(row: Mapping[str, Any]) -> Sequence[Op]:
    name, item = row["name"], 4 if row["dtype"] == "float32" else 2
    entering, leaving = row["in_elems"] * item, row["out_elems"] * item
    if name.startswith("net"):  # convolutions, each with a ReLU of its own
        layers = row["ops"] // 2
        conv = Op(OpKind.CONV2D, row["macs"] // layers, 0, entering, leaving)
        return [conv, Op(OpKind.ACTIVATION, 0, 0, leaving, leaving)] * layers
    kinds = {
        "fc": OpKind.FULLY_CONNECTED,
        "dw": OpKind.DEPTHWISE_CONV2D,
        "conv": OpKind.CONV2D,
        "add": OpKind.ELEMENTWISE,
    }
    kind = next(kind for prefix, kind in kinds.items() if name.startswith(prefix))
    return [Op(kind, row["macs"], 0, entering, leaving)] * row["ops"]


def scale_sim_errors() -> list[float]:
    """Cycles of an output-stationary 16 x 16 array, a depthwise layer channel by channel."""
    array = load_profile("generic-asic").rates[INT8].systolic
    assert array is not None
    errors = []
    for network, cycles in SCALE_SIM_CYCLES.items():
        products = [op for op in graph(network) if op.kind in MAC_KINDS]
        found = sum(array.cycles(op) for op in products)
        errors.append(found / cycles - 1)
    return errors


_VELA = {
    name: f"Vela 5.2.0 ({system}, {memory}), 14 small int8 networks kept out"
    for name, (system, memory) in json.loads((DATA / "vela_rows.json").read_text())["configurations"].items()
}
ENGINE_CHECKS = {
    **{(name, text, "latency"): functools.partial(held_out_on_ethos, name) for name, text in _VELA.items()},
    ("coral-usb", "coral.ai, Edge TPU benchmarks, desktop with USB 3.0, ten plain classifiers", "latency"): lambda: (
        list(coral_errors("coral-usb", CORAL_USB3).values())
    ),
    ("coral-usb", "coral.ai, the same table: DenseNet and Inception-ResNet v2", "latency"): lambda: list(
        coral_errors("coral-usb", CORAL_OUTLIERS).values()
    ),
    ("coral-m2", "coral.ai, Edge TPU benchmarks, Dev Board column, seven plain classifiers", "latency"): lambda: [
        error for name, error in coral_errors("coral-m2", CORAL_DEV_BOARD).items() if name != "DenseNet"
    ],
    ("coral-m2", "coral.ai, the same column: DenseNet", "latency"): lambda: [
        coral_errors("coral-m2", CORAL_DEV_BOARD)["DenseNet"]
    ],
    (
        "jetson-nano",
        "NVIDIA, Jetson Nano benchmarks, TensorRT in half precision, four image networks",
        "latency",
    ): _jetson,
    ("gpu-server", "measured here on an H100, single precision, nine graphs kept out of the fit", "latency"): (
        functools.partial(h100_errors, "float32")
    ),
    (
        "gpu-server",
        "measured here on an H100, half precision, which stands for int8, nine graphs kept out",
        "latency",
    ): (functools.partial(h100_errors, "float16")),
    ("generic-asic", "SCALE-Sim 3.0, output-stationary 16 x 16, cycles of MLPerf Tiny ad, kws and ic", "latency"): (
        scale_sim_errors
    ),
}
