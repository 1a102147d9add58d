"""ONNX float32 -> ONNX int8: a QuantizeLinear and a DequantizeLinear around every operator, input and output float.

Static ranges, the plain minimum and maximum over the calibration samples, one weight scale a channel, weights of seven
bits: on x86 without VNNI the runtime's kernels add two products in 16 bits, which eight bits overflow without a word.
The quantiser works on files, in a folder of its own, and leaves its notes and its name in the result; slimming removes
them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.backends.onnx import INPUT
from exporters.backends.toolchain import converting, tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def quantise(float_model: bytes, samples: NDArray[np.float32], *, name: str) -> bytes:
    """The int8 form of a graph with one input; ``samples`` are scaled, (N, *input).

    Raises IncompatibleError when the quantiser does not take the graph, MissingExtraError when it is not installed.
    """
    quantization, shapes = tool("onnxruntime.quantization"), tool("onnxruntime.quantization.shape_inference")
    onnx, onnxslim = tool("onnx"), tool("onnxslim")

    class Feeds(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]  # a class of the late import
        def __init__(self) -> None:
            self._rows: Iterator[dict[str, Any]] = ({INPUT: samples[i : i + 1]} for i in range(len(samples)))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rows, None)

    with tempfile.TemporaryDirectory(prefix="tamiyo-qdq-") as place, converting(name, "the ONNX quantiser"):
        before, ready, after = (Path(place) / f"{step}.onnx" for step in ("float", "ready", "int8"))
        before.write_bytes(float_model)
        shapes.quant_pre_process(str(before), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(after),
            Feeds(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        model = onnxslim.slim(onnx.load(str(after)))
        for kept in (model, model.graph):
            kept.ClearField("metadata_props")
            kept.ClearField("doc_string")
        used = {node.domain for node in model.graph.node}
        opsets = [item for item in model.opset_import if item.domain in used]
        del model.opset_import[:]
        model.opset_import.extend(opsets)
        model.producer_name, model.producer_version, model.graph.name = "tamiyo", "", "main"
        return bytes(model.SerializeToString(deterministic=True))
