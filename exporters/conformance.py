"""Whether a module survives export: converted to every format, run as a device runs it, and compared with torch.

What a format or a target cannot do is data, with the reason, never an exception: a blueprint may be fit for one target
and not for another. Only a toolchain that is not installed is an error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporters.backends import onnx, quantiser, tflite
from exporters.backends.flatbuffer import INPUT, OUTPUT, Model, read_model
from exporters.backends.ranges import settle
from exporters.backends.toolchain import quiet
from exporters.ops.shipped import tables
from exporters.ops.table import place
from exporters.targets import Target, targets
from tamiyo_runtime.contracts.errors import MissingDependencyError, TamiyoError
from tamiyo_runtime.contracts.plan import Format, Graph, Precision, TensorSpec
from tamiyo_runtime.interpreters import open_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    Samples = NDArray[np.float32]

FLOAT_TOLERANCE = 1e-4
"""Largest difference from torch that a float graph may show."""
INT8_FLOOR_DB = 20.0
"""Least signal to quantisation noise of an int8 graph's output."""
FORMATS: tuple[tuple[Format, Precision], ...] = (
    (Format.ONNX, Precision.FLOAT32),
    (Format.TFLITE, Precision.FLOAT32),
    (Format.TFLITE, Precision.INT8),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatVerdict:
    """What became of a module in one format. ``reason``: why it is not supported, None when it is.

    ``difference``: largest absolute difference from torch; ``sqnr_db``: signal to noise against torch, None when
    there is no noise. Both are None where the format is not supported.
    """

    format: Format
    precision: Precision
    reason: str | None = None
    difference: float | None = None
    sqnr_db: float | None = None

    @property
    def supported(self) -> bool:
        """Whether the format can hold the module and an interpreter runs it."""
        return self.reason is None

    @property
    def holds(self) -> bool:
        """Whether it computes what torch does, to 1e-4 in float and 20 dB in int8."""
        if self.difference is None or not math.isfinite(self.difference):
            return False
        if self.precision is Precision.FLOAT32:
            return self.difference <= FLOAT_TOLERANCE
        return self.sqnr_db is None or self.sqnr_db >= INT8_FLOOR_DB


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetVerdict:
    """Where a module runs on a target: ``formats`` that hold there, preferred first, and what stays on the CPU."""

    target: str
    formats: tuple[str, ...]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportVerdict:
    """A module in every format and on every target; ``operators`` of its float TFLite graph, in order."""

    name: str
    formats: tuple[FormatVerdict, ...]
    targets: tuple[TargetVerdict, ...]
    operators: tuple[str, ...]

    def of(self, form: Format, precision: Precision) -> FormatVerdict:
        """The verdict on one format."""
        return next(item for item in self.formats if (item.format, item.precision) == (form, precision))


def check_export(module: nn.Module, samples: Samples, *, name: str) -> ExportVerdict:
    """Convert a deployed, shape-preserving module and run ``samples``, (N, *shape) float32, through each form of it.

    int8 ranges are measured on the samples; input and output get one range, as at a seam between trunk pieces. Raises
    MissingDependencyError when the toolchain or an interpreter is not installed.
    """
    import torch

    module = module.eval()
    example = torch.from_numpy(np.ascontiguousarray(samples[:1]))
    with torch.no_grad():
        wanted = module(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
    spec = TensorSpec(name=INPUT, shape=(1, *samples.shape[1:]), dtype="float32")
    float_onnx = _verdict(
        Format.ONNX,
        Precision.FLOAT32,
        wanted,
        lambda: _run_onnx(onnx.convert(module, example, name=name), spec, samples),
    )
    files: list[bytes] = []

    def run_float() -> Samples:
        files.append(tflite.convert(module, example, name=name))
        return _run_tflite(files[0], samples)

    def run_int8() -> Samples:
        if not files:
            raise TamiyoError("needs the float graph")
        files.append(_int8(files[0], samples, name=name))
        return _run_tflite(files[1], samples)

    float_tflite = _verdict(Format.TFLITE, Precision.FLOAT32, wanted, run_float)
    int8_tflite = _verdict(Format.TFLITE, Precision.INT8, wanted, run_int8)
    formats = (float_onnx, float_tflite, int8_tflite)
    int8_model = read_model(files[1]) if len(files) > 1 else None
    return ExportVerdict(
        name=name,
        formats=formats,
        targets=tuple(_on(target, formats, int8_model) for _, target in targets),
        operators=tuple(item.code for item in read_model(files[0]).operators) if files else (),
    )


def not_on(target: Target, operators: Collection[str]) -> tuple[str, ...]:
    """Operators that a target's accelerator has no rule for, sorted; none where there is no accelerator."""
    if target.operator_table is None:
        return ()
    return tuple(sorted(set(operators) - set(tables.get(target.operator_table).rules)))


def _verdict(form: Format, precision: Precision, wanted: Samples, run: Callable[[], Samples]) -> FormatVerdict:
    try:
        found = run()
    except MissingDependencyError:
        raise
    except TamiyoError as exc:
        return FormatVerdict(format=form, precision=precision, reason=exc.message)
    noise = float(np.sum(np.square(found.astype(np.float64) - wanted)))
    signal = float(np.sum(np.square(wanted.astype(np.float64))))
    return FormatVerdict(
        format=form,
        precision=precision,
        difference=float(np.max(np.abs(found - wanted))),
        sqnr_db=round(10 * float(np.log10(signal / noise)), 1) if noise > 0 and signal > 0 else None,
    )


def _run_onnx(data: bytes, spec: TensorSpec, samples: Samples) -> Samples:
    answer = TensorSpec(name=onnx.OUTPUT, shape=spec.shape, dtype="float32")
    return _run(data, Graph(file="module.onnx", inputs=(spec,), outputs=(answer,)), samples)


def _run_tflite(data: bytes, samples: Samples) -> Samples:
    model = read_model(data)
    found = _run(data, model.graph("module.tflite"), tflite.channels_last_array(samples))
    return np.moveaxis(found, -1, 1) if found.ndim > 2 else found  # images and sequences, back from channels last


def _run(data: bytes, graph: Graph, samples: Samples) -> Samples:
    """Every sample through the graph, quantised and dequantised as its ends want it: (N, *output)."""
    entering, leaving = graph.inputs[0].quantisation, graph.outputs[0].quantisation
    with quiet():  # an interpreter announces itself from C++
        call = open_graph(data, graph).bind()
    rows = []
    for sample in samples:
        value = np.ascontiguousarray(sample[None])
        if entering is not None:
            value = np.clip(np.round(value / entering.scale) + entering.zero_point, -128, 127).astype(np.int8)
        rows.append(call(value)[0])
    found = np.stack(rows)
    if leaving is not None:
        found = (found.astype(np.float32) - leaving.zero_point) * np.float32(leaving.scale)
    return found.astype(np.float32)


def _int8(float_model: bytes, samples: Samples, *, name: str) -> bytes:
    """The int8 graph; raises TamiyoError naming operators that stay in float."""
    measured = quantiser.measure(float_model, tflite.channels_last_array(samples), name=name)
    seam = [(name, INPUT), (name, OUTPUT)]
    ranges = settle({name: read_model(float_model)}, {name: measured}, [seam])[name]
    data = quantiser.quantise(float_model, ranges, per_tensor_dense=True, name=name)
    islands = Counter(
        item.code
        for item in read_model(data).operators
        if any(tensor.dtype == "float32" for tensor in (*item.inputs, *item.outputs))
    )
    if islands:
        raise TamiyoError(f"stays in float: {', '.join(sorted(islands))}")
    return data


def _on(target: Target, formats: Sequence[FormatVerdict], int8_model: Model | None) -> TargetVerdict:
    wanted = [(recipe.format, recipe.precision, recipe.id) for recipe in target.variants]
    holding = {(item.format, item.precision) for item in formats if item.holds}
    beside: tuple[str, ...] = ()
    if target.operator_table is not None and int8_model is not None:
        placed = place(tables.get(target.operator_table), target.name, int8_model)
        beside = tuple(dict.fromkeys(f"{item.operator}: {item.reason}" for item in placed if not item.on_accelerator))
    return TargetVerdict(
        target=target.name,
        formats=tuple(name for form, precision, name in wanted if (form, precision) in holding),
        beside=beside,
    )
