"""float TFLite -> int8 TFLite, inputs and outputs included, from ranges measured on calibration samples.

Ranges are the plain minimum and maximum over all samples. The quantiser's default keeps a moving average instead, which
clips the tails: on our test networks that cost 10 to 20 dB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.flatbuffer import INPUT, OUTPUT, Model, read_model
from exporters.backends.toolchain import converting, tool

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ranges = dict[str, tuple[float, float]]

# Operators whose int8 output has the quantisation of their input, by the format or by the quantiser's rules.
SAME_SCALE = frozenset(
    {
        *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PADV2", "SLICE"),
        *("STRIDED_SLICE", "SPLIT", "CONCATENATION", "PACK", "UNPACK", "GATHER", "BROADCAST_TO", "SPACE_TO_DEPTH"),
        *("DEPTH_TO_SPACE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MAXIMUM", "MINIMUM", "SELECT_V2"),
    }
)


def measure(float_model: bytes, samples: NDArray[np.float32], *, name: str) -> Ranges:
    """Minimum and maximum of every activation of a graph over ``samples``, (N, *graph input without batch)."""
    calibrator = tool("ai_edge_quantizer.calibrator")
    qsv = tool("ai_edge_quantizer.utils.qsv_utils")
    with converting(f"part '{name}'", "the calibrator"):
        runner = calibrator.Calibrator(
            float_model,
            num_threads=1,
            mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv.min_max_update,
        )
        key = runner.get_signature_list().popitem()
        argument = key[1]["inputs"][0]
        feeds = [{argument: np.ascontiguousarray(samples[i : i + 1])} for i in range(len(samples))]
        runner.calibrate({key[0]: feeds}, None)
        found = runner.get_model_qsvs()
    return {tensor: (float(np.min(v["min"])), float(np.max(v["max"]))) for tensor, v in found.items()}


def quantise(float_model: bytes, ranges: Ranges, *, per_tensor_dense: bool, name: str) -> bytes:
    """The int8 graph. ``per_tensor_dense``: one scale for a fully connected layer's weights, as older compilers want.

    Raises IncompatibleError when an operator of the part has no int8 form.
    """
    quantizer, recipe = tool("ai_edge_quantizer.quantizer"), tool("ai_edge_quantizer.recipe")
    qtyping = tool("ai_edge_quantizer.qtyping")
    with converting(f"part '{name}'", "the int8 quantiser"):
        worker = quantizer.Quantizer(float_model)
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        if per_tensor_dense:
            dense = qtyping.TFLOperationName.FULLY_CONNECTED
            worker.add_static_config(".*", dense, 8, 8, qtyping.QuantGranularity.TENSORWISE)
        result = worker.quantize({tensor: _qsv(low, high) for tensor, (low, high) in ranges.items()})
        return bytes(result.quantized_model)


@dataclass(slots=True)
class _Groups:
    """Sets of (graph, tensor) that must share one range; union by relabelling, the graphs are small."""

    label: dict[tuple[str, str], int] = field(default_factory=dict)

    def join(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        a = self.label.setdefault(first, len(self.label))
        b = self.label.setdefault(second, len(self.label))
        if a != b:
            self.label = {node: a if group == b else group for node, group in self.label.items()}


def share_seams(
    models: Mapping[str, Model], ranges: Mapping[str, Ranges], seams: Iterable[Sequence[tuple[str, str]]]
) -> dict[str, Ranges]:
    """The ranges with one common range for all tensors of a seam, so that raw int8 passes whichever seeds are on.

    A seam lists its tensors as (graph, ``x`` or ``y``). Where a seam's tensor meets an operator that keeps its
    quantisation (a reshape, a pooling) the tensor on the other side joins the seam; the range is the union of all.
    """
    groups = _Groups()
    ends: set[tuple[str, str]] = set()
    for seam in seams:
        for node in seam:
            groups.join(seam[0], node)
            ends.add(node)
    for graph, model in models.items():
        for operator in model.operators:
            if operator.code in SAME_SCALE:
                moving = [t for t in (*operator.inputs, *operator.outputs) if not t.constant and t.dtype == "float32"]
                for tensor in moving:
                    groups.join((graph, moving[0].name), (graph, tensor.name))
    seam_groups = {groups.label[node] for node in ends}
    shared = {graph: dict(found) for graph, found in ranges.items()}
    for group in seam_groups:
        nodes = [node for node, label in groups.label.items() if label == group]
        found = [ranges[graph][name] for graph, name in nodes if name in ranges[graph]]
        union = (min(low for low, _ in found), max(high for _, high in found))
        for graph, name in nodes:
            shared[graph][name] = union
    return shared


def seam_mismatch(models: Mapping[str, bytes], seam: Sequence[tuple[str, str]]) -> str | None:
    """What is wrong with the quantisation at a seam of int8 graphs, None when it is equal on all sides."""
    found = {}
    for graph, end in seam:
        model = read_model(models[graph])
        tensor = (model.inputs if end == INPUT else model.outputs)[0]
        found[f"{graph}.{end}"] = (tensor.dtype, tensor.quantisation)
    if len(set(found.values())) == 1 and next(iter(found.values()))[1] is not None:
        return None
    return "; ".join(f"{place}: {dtype} {quantisation}" for place, (dtype, quantisation) in found.items())


def seam_tensors(before: str, seed: str, after: str) -> tuple[tuple[str, str], ...]:
    """The tensors at the slot between two trunk graphs: trunk out, seed in, seed out, next in."""
    return ((before, OUTPUT), (seed, INPUT), (seed, OUTPUT), (after, INPUT))


def _qsv(low: float, high: float) -> dict[str, Any]:
    return {"min": np.array([low]), "max": np.array([high])}
