"""ONNX graphs, by ONNX Runtime on the CPU: one thread, all graph optimisations.

ORT_ENABLE_ALL matters: a convolution net of ours takes 79 us with it and 528 us one level below. A gated graph takes
its gates as scalar booleans behind the first input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tamiyo_runtime.contracts.errors import IntegrityError, MissingExtraError
from tamiyo_runtime.contracts.plan import Format, Graph, TensorSpec
from tamiyo_runtime.interpreters.base import (
    Array,
    Call,
    GraphError,
    GraphRunner,
    check_inputs,
    check_spec,
    interpreters,
)

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OrtRunner:
    """One ONNX graph, loaded."""

    def __init__(self, session: Any, graph: Graph) -> None:
        self._session = session
        self._graph = graph
        self._inputs = _names(graph, graph.inputs, session.get_inputs())
        self._outputs = _names(graph, graph.outputs, session.get_outputs())

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """All outputs."""
        check_inputs(self._graph, inputs)
        try:
            outputs = self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))
        except Exception as exc:  # ONNX Runtime's exceptions have no common base of their own
            raise GraphError(f"{self._graph.file} failed: {str(exc).splitlines()[0]}") from exc
        return list(outputs)

    def bind(self, rest: Sequence[Array] = ()) -> Call:
        """First input to first output; the dict of inputs is built once and its first entry replaced."""
        run, first, outputs = self._session.run, self._inputs[0], self._outputs[:1]
        feeds = dict(zip(self._inputs[1:], rest, strict=True))

        def call(value: Array) -> Array:
            feeds[first] = value
            result: Array = run(outputs, feeds)[0]
            return result

        return call


def _names(graph: Graph, specs: Sequence[TensorSpec], nodes: Sequence[Any]) -> list[str]:
    found = {node.name: node for node in nodes}
    if found.keys() != {spec.name for spec in specs}:
        raise IntegrityError(
            f"{graph.file} has tensors {sorted(found)}, the manifest lists {sorted(spec.name for spec in specs)}",
            hint="export the bundle again",
        )
    for spec in specs:
        node = found[spec.name]
        dtype = np.dtype(_DTYPES.get(node.type, "object"))
        # ONNX carries the quantisation in the graph's own nodes, not in the tensor: only shape and type can be compared
        scale = spec.quantisation.scale if spec.quantisation else 0.0
        check_spec(graph, spec, shape=node.shape, dtype=dtype, scale=scale)
    return [spec.name for spec in specs]


@interpreters.register("onnxruntime")
class OnnxRuntime:
    """ONNX Runtime, CPU provider."""

    format: ClassVar[Format] = Format.ONNX
    module: ClassVar[str] = "onnxruntime"
    extra: ClassVar[str] = "ort"

    @classmethod
    def open_graph(cls, data: bytes, graph: Graph) -> GraphRunner:
        """Load an ONNX graph."""
        try:
            import onnxruntime as ort
        except ImportError as exc:
            raise MissingExtraError(cls.module, cls.extra) from exc
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors only; what matters comes as an exception
        try:
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # as above: no common base
            raise IntegrityError(
                f"{graph.file} does not load: {str(exc).splitlines()[0]}", hint="export the bundle again"
            ) from exc
        return OrtRunner(session, graph)
