"""float TFLite -> int8 TFLite, inputs and outputs included, from ranges measured on calibration samples.

Ranges are the plain minimum and maximum over all samples. The quantiser's default keeps a moving average instead, which
clips the tails: on our test networks that cost 10 to 20 dB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.flatbuffer import INPUT, read_model
from exporters.backends.ranges import Ranges
from exporters.backends.toolchain import converting, tool
from tamiyo_runtime.contracts.errors import IncompatibleError

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def quantise(
    float_model: bytes, ranges: Ranges, *, per_tensor_dense: bool, name: str, floating: Collection[str] = ()
) -> bytes:
    """The int8 graph. ``per_tensor_dense``: one scale for a fully connected layer's weights, as older compilers want.

    ``floating``: output tensors of operators that stay in float, between a DEQUANTIZE and a QUANTIZE; the graph takes
    and gives int8 all the same. Raises IncompatibleError when an operator of the part has no int8 form.
    """
    recipe, qtyping = tool("ai_edge_quantizer.recipe"), tool("ai_edge_quantizer.qtyping")
    kinds = qtyping.TFLOperationName

    def rules(worker: Any) -> None:
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        if per_tensor_dense:
            _dense_per_tensor(worker, ".*")
        for tensor in floating:
            worker.update_quantization_recipe(
                _scope(tensor),
                kinds.ALL_SUPPORTED,
                algorithm_key=tool("ai_edge_quantizer.algorithm_manager").AlgorithmName.NO_QUANTIZE,
            )
            worker.add_static_config(_scope(tensor), kinds.OUTPUT, 8, 8)  # the graph's end is found by that name too

    return _quantised(float_model, ranges, rules, name=name)


def quantise_alone(
    float_model: bytes, ranges: Ranges, tensor: str, *, per_tensor_dense: bool, name: str
) -> bytes | None:
    """The float graph with the one operator that writes ``tensor`` in int8; it takes and gives float32.

    None when that operator has no int8 form of its own.
    """
    kinds = tool("ai_edge_quantizer.qtyping").TFLOperationName

    def rules(worker: Any) -> None:
        worker.add_static_config(_scope(tensor), kinds.ALL_SUPPORTED, 8, 8)
        if per_tensor_dense:
            _dense_per_tensor(worker, _scope(tensor))
        for end in (kinds.INPUT, kinds.OUTPUT):
            worker.update_quantization_recipe(
                ".*",
                end,
                algorithm_key=tool("ai_edge_quantizer.algorithm_manager").AlgorithmName.NO_QUANTIZE,
            )

    try:
        return _quantised(float_model, ranges, rules, name=name)
    except IncompatibleError:
        return None


def _quantised(float_model: bytes, ranges: Ranges, rules: Callable[[Any], None], *, name: str) -> bytes:
    quantizer = tool("ai_edge_quantizer.quantizer")
    with converting(f"part '{name}'", "the int8 quantiser"):
        worker = quantizer.Quantizer(float_model)
        rules(worker)
        result = worker.quantize({tensor: _qsv(low, high) for tensor, (low, high) in ranges.items()})
        return bytes(result.quantized_model)


def _dense_per_tensor(worker: Any, scope: str) -> None:
    qtyping = tool("ai_edge_quantizer.qtyping")
    dense = qtyping.TFLOperationName.FULLY_CONNECTED
    worker.add_static_config(scope, dense, 8, 8, qtyping.QuantGranularity.TENSORWISE)


def _scope(tensor: str) -> str:
    """The quantiser finds operators by a pattern on their output tensors, joined by semicolons."""
    return f"^{re.escape(tensor)}(;|$)"


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


def _qsv(low: float, high: float) -> dict[str, Any]:
    return {"min": np.array([low]), "max": np.array([high])}
