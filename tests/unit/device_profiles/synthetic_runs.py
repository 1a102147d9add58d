"""Runs of graphs that nobody timed: drawn at random, and timed by a cost model whose rates are known."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from device_profiles.cost import latency_us
from device_profiles.kernels import Kernels
from device_profiles.ops import Op, OpKind
from device_profiles.profile import Rates
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.plan import Graph, Precision, TensorSpec
from tamiyo_runtime.contracts.runs import RUNS_SCHEMA, Machine, Reference, Run, Runs, Work

MACHINE = Machine(
    device="board",
    cpu="some core",
    architecture="aarch64",
    system="Linux 6.6",
    python="3.11",
    interpreter="ai-edge-litert",
    interpreter_version="2.3.0",
)
TRUTH = {
    precision: Rates(
        dispatch_us=12.0,
        operator_us=0.8,
        work_us={kind: rate * factor * 1e-3 for kind, rate in {
            OpKind.CONV2D: 0.3,
            OpKind.DEPTHWISE_CONV2D: 1.1,
            OpKind.FULLY_CONNECTED: 0.5,
            OpKind.POOL: 0.6,
            OpKind.ELEMENTWISE: 0.4,
            OpKind.ACTIVATION: 0.4,
            OpKind.DATA_MOVEMENT: 0.3,
            OpKind.SOFTMAX: 9.0,
        }.items()},
        accelerator=None,
        kernels=Kernels(
            depth=8 if precision is Precision.INT8 else 1,
            width=8,
            window_us=0.012 * factor,
            output_us={OpKind.CONV2D: 0.002, OpKind.DEPTHWISE_CONV2D: 0.002, OpKind.FULLY_CONNECTED: 0.002},
            code_us={"ADD": 0.0004, "MUL": 0.0007, "MAX_POOL_2D": 0.0006, "SOFTMAX": 0.009, "CONCATENATION": 0.0003},
        ),
    )
    for precision, factor in ((Precision.INT8, 1.0), (Precision.FLOAT32, 1.6))
}  # fmt: skip
_SPEC = TensorSpec(name="x", shape=(1, 4), dtype="float32")
GRAPH = Graph(file="conv2d/x.tflite", inputs=(_SPEC,), outputs=(_SPEC,))


def operator(family: str, rng: np.random.Generator, item: int) -> Op:
    """One operator of a family's kind; ``item`` bytes an element."""
    side, wide, deep = int(rng.integers(4, 24)), int(rng.integers(4, 64)), int(rng.integers(1, 48))
    m = side * side
    if family == "conv2d":
        window = int(rng.choice([1, 9]))
        weights = window * deep * wide
        sizes = (weights * item, m * deep * item, m * wide * item)
        return Op(OpKind.CONV2D, m * weights, *sizes, params=weights, gemm=(m, window * deep, wide), window=window)
    if family == "depthwise":
        sizes = (9 * wide * item, m * wide * item, m * wide * item)
        return Op(OpKind.DEPTHWISE_CONV2D, m * 9 * wide, *sizes, params=9 * wide, gemm=(m, 9, 1), groups=wide, window=9)
    if family == "dense":
        deep, wide = deep * 16, wide * 8
        sizes = (deep * wide * item, deep * item, wide * item)
        return Op(OpKind.FULLY_CONNECTED, deep * wide, *sizes, params=deep * wide, gemm=(1, deep, wide))
    code, kind = {
        "add": ("ADD", OpKind.ELEMENTWISE),
        "mul": ("MUL", OpKind.ELEMENTWISE),
        "pool": ("MAX_POOL_2D", OpKind.POOL),
        "softmax": ("SOFTMAX", OpKind.SOFTMAX),
        "movement": ("CONCATENATION", OpKind.DATA_MOVEMENT),
    }[family]
    return Op(kind, 0, 0, m * wide * item, m * wide * item, code=code)


FAMILIES = ("conv2d", "depthwise", "dense", "add", "mul", "pool", "softmax", "movement")


def runs(*, seed: int = 0, noise: float = 0.0, each: int = 9, networks: int = 24, machine: Machine = MACHINE) -> Runs:
    """``each`` graphs of every family and some networks, in both precisions; times are off by lognormal ``noise``."""
    rng = np.random.default_rng(seed)
    found = []
    for precision in Precision:
        item = 1 if precision is Precision.INT8 else 4
        plans = [(family, [family] * int(rng.integers(1, 4))) for family in FAMILIES for _ in range(each)]
        plans += [("network", [str(name) for name in rng.choice(FAMILIES, 8)]) for _ in range(networks)]
        for number, (family, kinds) in enumerate(plans):
            ops = [operator(kind, rng, item) for kind in kinds]
            us = latency_us(TRUTH[precision], [ops]) * float(np.exp(rng.normal(0, noise)))
            found.append(run(f"{family}-{number}-{precision}", family, precision, us, ops))
    return Runs(
        schema=RUNS_SCHEMA,
        subject="probes",
        digest="0" * 64,
        machine=machine,
        when="2026-01-02T03:04:05+00:00",
        threads=1,
        source=Source.MEASURED,
        reference=Reference(id=found[0].id, p50_us=1.0, low_us=1.0, high_us=1.0),
        runs=tuple(found),
    )


def run(name: str, family: str, precision: Precision, us: float, ops: list[Op]) -> Run:
    """A run whose rounds all took ``us``."""
    drop = ("on_accelerator", "live_bytes")
    return Run(
        id=name,
        family=family,
        precision=precision,
        p50_us=us,
        p90_us=us * 1.1,
        p999_us=us * 2,
        round_low_us=us,
        round_high_us=us,
        relative=us,
        rounds=50,
        invocations=5000,
        ops=tuple(Work(**{key: value for key, value in asdict(op).items() if key not in drop}) for op in ops),
    )
