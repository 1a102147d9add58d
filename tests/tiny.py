"""A bundle small enough to be made by hand: TFLite and ONNX graphs of three matrices, no toolchain needed.

    x (1, 4, 4) raw 0..16 -> trunk0 (16 -> 8) -> [seed0] -> trunk1 (8 -> 8) -> [seed1] -> head (8 -> 3) -> logits

Seeds are shape-preserving. `logits` is the reference in plain numpy; every variant must agree with it.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import entry_of
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.contracts.manifest import SCHEMA, InputSpec, Manifest, PolicySpec
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, HEADS, OBSERVATION, Heads, observation_size
from tamiyo_runtime.contracts.plan import (
    Configuration,
    Format,
    Graph,
    Layout,
    Precision,
    Quantisation,
    Runnable,
    Seam,
    Segment,
    SegmentKind,
    SegmentPlan,
    TensorSpec,
    Variant,
)
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.reference import Reference
from tamiyo_runtime.reference import reference_of
from tamiyo_runtime.selftest import Vectors

SLOTS = 2
CLASSES = ("a", "b", "c")
BLUEPRINTS = ("no-op", "adapter")
CHAIN = ("trunk0", "seed0", "trunk1", "seed1", "head")
Gates = tuple[bool, ...]
Matrix = NDArray[np.float32]

_random = np.random.default_rng(7)
WEIGHTS: dict[str, Matrix] = {
    "trunk0": _random.normal(0, 0.4, (8, 16)).astype(np.float32),
    "seed0": (np.eye(8) + _random.normal(0, 0.2, (8, 8))).astype(np.float32),
    "trunk1": _random.normal(0, 0.5, (8, 8)).astype(np.float32),
    "seed1": (np.eye(8) + _random.normal(0, 0.2, (8, 8))).astype(np.float32),
    "head": _random.normal(0, 0.8, (3, 8)).astype(np.float32),
}
INPUT = InputSpec(shape=(1, 4, 4), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0)
# One range for every tensor: that is what lets int8 values pass a seam whichever seeds are on.
RANGE = Quantisation(scale=24 / 255, zero_point=0)
ACCURACY = {(False, False): 0.8, (True, False): 0.85, (False, True): 0.9, (True, True): 0.95}
LATENCY_MS = {"trunk0": 1.0, "seed0": 0.5, "trunk1": 1.0, "seed1": 1.0, "head": 0.5}
REFERENCE_SAMPLES = 400
ALL_GATES: tuple[Gates, ...] = tuple(product((False, True), repeat=SLOTS))


def chain(gates: Gates) -> tuple[str, ...]:
    """Segments of a configuration."""
    return tuple(name for name in CHAIN if not name.startswith("seed") or gates[int(name[-1])])


def logits(sample: NDArray[np.float32], gates: Gates) -> Matrix:
    """The reference, (3,)."""
    value = (sample.astype(np.float32) * np.float32(INPUT.scale)).ravel()
    for name in chain(gates):
        value = WEIGHTS[name] @ value
    return value


def samples(count: int = 12) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Raw samples, labelled with what the full network answers."""
    x = np.random.default_rng(3).integers(0, 17, (count, *INPUT.shape)).astype(np.uint8)
    y = np.array([logits(sample, (True, True)).argmax() for sample in x], np.int64)
    return x, y


@functools.cache
def _answers() -> dict[Gates, Matrix]:
    x, _ = samples(REFERENCE_SAMPLES)
    return {gates: np.stack([logits(sample, gates) for sample in x]) for gates in ALL_GATES}


def reference(variants: Sequence[Variant]) -> Reference:
    """What all variants should answer, by numpy, to more samples than travel in the bundle."""
    answers = {Configuration.name_of(gates): found for gates, found in _answers().items()}
    return reference_of(
        samples(REFERENCE_SAMPLES)[0], {variant.id: answers for variant in variants}, source="made by hand"
    )


def tflite_dense(weights: Matrix, input_shape: Sequence[int], quantised: Quantisation | None = None) -> bytes:
    """A TFLite file of one fully connected layer without bias, float or int8 with one range for both ends."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def quantisation(scale: float, zero_point: int) -> object:
        parameters = schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = [scale], [zero_point]
        return parameters

    def tensor(name: str, shape: Sequence[int], kind: int, buffer: int, parameters: object) -> object:
        result = schema.TensorT()
        result.name, result.shape, result.type, result.buffer = name, list(shape), kind, buffer
        result.quantization = parameters
        return result

    stored, scale = weights.astype(np.float32), float(np.abs(weights).max()) / 127
    kind, ends, inner = schema.TensorType.FLOAT32, None, None
    if quantised is not None:
        stored = np.rint(weights / scale).astype(np.int8)
        kind, ends = schema.TensorType.INT8, quantisation(quantised.scale, quantised.zero_point)
        inner = quantisation(scale, 0)
    graph, operator, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors = [
        tensor("x", input_shape, kind, 0, ends),
        tensor("w", weights.shape, kind, 1, inner),
        tensor("y", (1, weights.shape[0]), kind, 0, ends),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
    operator.inputs, operator.outputs = [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if quantised is not None else 1
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT(), buffer]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def onnx_gated() -> bytes:
    """One ONNX file of the whole network: input ``x``, a boolean ``gate0`` and ``gate1``, an ``If`` per seed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    stored = [numpy_helper.from_array(matrix.T.copy(), name) for name, matrix in WEIGHTS.items()]
    nodes = [helper.make_node("Flatten", ["x"], ["flat"])]
    value = "flat"
    for name in CHAIN:
        if not name.startswith("seed"):
            nodes.append(helper.make_node("MatMul", [value, name], [f"{name}_out"]))
        else:
            shape = helper.make_tensor_value_info(f"{name}_branch", TensorProto.FLOAT, [1, 8])
            on = helper.make_graph([helper.make_node("MatMul", [value, name], [f"{name}_branch"])], "on", [], [shape])
            off = helper.make_graph([helper.make_node("Identity", [value], [f"{name}_branch"])], "off", [], [shape])
            nodes.append(helper.make_node("If", [f"gate{name[-1]}"], [f"{name}_out"], then_branch=on, else_branch=off))
        value = f"{name}_out"
    gates = [helper.make_tensor_value_info(f"gate{slot}", TensorProto.BOOL, []) for slot in range(SLOTS)]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4]), *gates],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, 3])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def policy_weights() -> Matrix:
    """A policy of one layer: all seeds on at rated speed, all off from twice as slow on; other heads are 0."""
    weights = np.zeros((Heads(SLOTS, len(BLUEPRINTS)).size, observation_size(SLOTS)), np.float32)
    gates = Heads(SLOTS, len(BLUEPRINTS)).slices()["gates"]
    weights[gates, GLOBAL_FEATURES.index("running")] = 1.0
    weights[gates, GLOBAL_FEATURES.index("throttle_log2")] = -1.0
    return weights


def _tensor(name: str, shape: Sequence[int], dtype: str, quantised: Quantisation | None = None) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(shape), dtype=dtype, quantisation=quantised)


def _estimate(value: float, error: float = 0.2) -> Estimate:
    return Estimate(value=value, low=value * (1 - error), high=value * (1 + error), source=Source.ANALYTIC)


def _runnables(chains: dict[Gates, tuple[str, ...]], active_mw: float) -> tuple[Runnable, ...]:
    items = []
    for gates, names in chains.items():
        latency = sum(LATENCY_MS[name] for name in chain(gates))
        cost = Cost(
            latency_ms=_estimate(latency),
            energy_uj=_estimate(latency * active_mw),
            peak_memory_bytes=4096,
            params=sum(WEIGHTS[name].size for name in chain(gates)),
            macs=sum(WEIGHTS[name].size for name in chain(gates)),
        )
        items.append(
            Runnable(configuration=Configuration.name_of(gates), chain=names, cost=cost, accuracy=ACCURACY[gates])
        )
    return tuple(sorted(items, key=lambda item: item.cost.latency_ms.value))


def vectors(variants: Sequence[Variant], *, policy: bool) -> Vectors:
    """Self-test vectors from the reference in numpy, not from what the graphs answered."""
    inputs = samples(4)[0].astype(np.float32)
    policy_inputs = np.random.default_rng(5).normal(size=(3, observation_size(SLOTS))).astype(np.float32)
    return Vectors(
        inputs=inputs,
        logits={
            (variant.id, Configuration.name_of(gates)): np.stack([logits(sample, gates) for sample in inputs])
            for variant in variants
            for gates in ALL_GATES
        },
        policy_inputs=policy_inputs if policy else None,
        policy_outputs=(policy_inputs @ policy_weights().T) if policy else None,
    )


@dataclass(frozen=True)
class Tiny:
    """What `write_bundle` takes."""

    manifest: Manifest
    files: dict[str, bytes]


def make(
    *, budget: Budget | None = None, policy: bool = True, variants: Sequence[str] = ("int8", "float", "onnx")
) -> Tiny:
    """A tiny bundle's manifest and files. ``variants`` in order of preference."""
    made = _made(policy, tuple(variants))
    manifest = made.manifest if budget is None else replace(made.manifest, budget=budget)
    return Tiny(manifest, dict(made.files))  # files that the caller may change


@functools.cache
def _made(policy: bool, variants: tuple[str, ...]) -> Tiny:
    files: dict[str, bytes] = {}
    made: list[Variant] = []
    active_mw = 100.0
    for name in variants:
        if name == "onnx":
            files["graphs/onnx/net.onnx"] = onnx_gated()
            inputs = (
                _tensor("x", (1, 1, 4, 4), "float32"),
                *(_tensor(f"gate{slot}", (), "bool") for slot in range(SLOTS)),
            )
            graphs = {
                "net": Graph(
                    file="graphs/onnx/net.onnx", inputs=inputs, outputs=(_tensor("head_out", (1, 3), "float32"),)
                )
            }
            chains: dict[Gates, tuple[str, ...]] = dict.fromkeys(ALL_GATES, ("net",))
            made.append(
                Variant(
                    id="onnx",
                    format=Format.ONNX,
                    precision=Precision.FLOAT32,
                    layout=Layout.GATED,
                    graphs=graphs,
                    runnables=_runnables(chains, active_mw),
                )
            )
            continue
        quantised = RANGE if name == "int8" else None
        dtype = "int8" if quantised else "float32"
        graphs = {}
        for segment, weights in WEIGHTS.items():
            shape = (1, 4, 4, 1) if segment == "trunk0" else (1, weights.shape[1])
            file = f"graphs/{name}/{segment}.tflite"
            files[file] = tflite_dense(weights, shape, quantised)
            graphs[segment] = Graph(
                file=file,
                inputs=(_tensor("x", shape, dtype, quantised),),
                outputs=(_tensor("y", (1, weights.shape[0]), dtype, quantised),),
            )
        made.append(
            Variant(
                id=name,
                format=Format.TFLITE,
                precision=Precision.INT8 if quantised else Precision.FLOAT32,
                layout=Layout.SEGMENTS,
                graphs=graphs,
                runnables=_runnables({gates: chain(gates) for gates in ALL_GATES}, active_mw),
            )
        )
    spec = None
    if policy:
        files["policy/policy.tflite"] = tflite_dense(policy_weights(), (1, observation_size(SLOTS)))
        heads = Heads(SLOTS, len(BLUEPRINTS)).size
        spec = PolicySpec(
            graphs={
                Format.TFLITE: Graph(
                    file="policy/policy.tflite",
                    inputs=(_tensor("x", (1, observation_size(SLOTS)), "float32"),),
                    outputs=(_tensor("y", (1, heads), "float32"),),
                )
            },
            observation=OBSERVATION,
            heads=HEADS,
            slots=SLOTS,
            blueprints=BLUEPRINTS,
        )
    x, y = samples()
    files["vectors.npz"] = vectors(made, policy=policy).to_bytes()
    stream = io.BytesIO()
    np.savez(stream, x=x, y=y)
    files["samples.npz"] = stream.getvalue()
    kinds = {"trunk0": SegmentKind.TRUNK, "trunk1": SegmentKind.TRUNK, "head": SegmentKind.HEAD}
    segments = tuple(
        Segment(
            name=name,
            kind=kinds.get(name, SegmentKind.SEED),
            slot=None if name in kinds else int(name[-1]),
            blueprint=None if name in kinds else "adapter",
            params=WEIGHTS[name].size,
            macs=WEIGHTS[name].size,
        )
        for name in CHAIN
    )
    manifest = Manifest(
        schema=SCHEMA,
        name="tiny",
        target="test-board",
        task="tiny",
        classes=CLASSES,
        input=INPUT,
        plan=SegmentPlan(
            slots=SLOTS,
            segments=segments,
            seams=tuple(Seam(slot=slot, shape=(1, 8), low=-12.0, high=12.0) for slot in range(SLOTS)),
        ),
        configurations=tuple(Configuration(id=Configuration.name_of(gates), gates=gates) for gates in ALL_GATES),
        variants=tuple(made),
        policy=spec,
        profile=ProfileSnapshot(
            id="test-board",
            revision=1,
            sha256="ab" * 32,
            active_mw=active_mw,
            idle_mw=10.0,
            memory_bytes=1 << 20,
            relative_error=0.2,
            budget=Budget(latency_ms=10.0),
        ),
        budget=Budget(latency_ms=10.0),
        reference=reference(made),
        files={name: entry_of(data) for name, data in files.items()},
    )
    return Tiny(manifest, files)
