"""TFLite graphs, by ``ai_edge_litert`` or by ``tflite_runtime``, which share one interface.

One thread: with two, the 99th percentile rises by an order of magnitude on small graphs, and deadlines are held at
the 99th percentile. Values go in by ``set_tensor`` and out by ``get_tensor``, raw; the signature runner costs more.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, ClassVar

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


class TfLiteRunner:
    """One TFLite graph, loaded."""

    def __init__(self, interpreter: Any, graph: Graph) -> None:
        self._interpreter = interpreter
        self._graph = graph
        self._inputs = _indices(graph, graph.inputs, interpreter.get_input_details())
        self._outputs = _indices(graph, graph.outputs, interpreter.get_output_details())

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """All outputs, as copies."""
        check_inputs(self._graph, inputs)
        try:
            for index, value in zip(self._inputs, inputs, strict=True):
                self._interpreter.set_tensor(index, value)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]
        except (ValueError, RuntimeError) as exc:
            raise GraphError(f"{self._graph.file} failed: {exc}") from exc

    def bind(self, rest: Sequence[Array] = ()) -> Call:
        """First input to first output, the methods and indices looked up once."""
        set_tensor, invoke, get_tensor = (
            self._interpreter.set_tensor,
            self._interpreter.invoke,
            self._interpreter.get_tensor,
        )
        first, output = self._inputs[0], self._outputs[0]
        fixed = list(zip(self._inputs[1:], rest, strict=True))

        def call(value: Array) -> Array:
            set_tensor(first, value)
            invoke()
            result: Array = get_tensor(output)
            return result

        def call_with_rest(value: Array) -> Array:
            for index, constant in fixed:
                set_tensor(index, constant)
            return call(value)

        return call_with_rest if fixed else call


def _indices(graph: Graph, specs: Sequence[TensorSpec], details: Sequence[dict[str, Any]]) -> list[int]:
    """The interpreter's tensor indices in the order of the specs; by name where the names agree, else by position."""
    if len(details) != len(specs):
        raise IntegrityError(
            f"{graph.file} has {len(details)} tensors where the manifest lists {len(specs)}",
            hint="export the bundle again",
        )
    by_name = {detail["name"]: detail for detail in details}
    ordered = [by_name[spec.name] for spec in specs] if {s.name for s in specs} == by_name.keys() else list(details)
    for spec, detail in zip(specs, ordered, strict=True):
        scale = float(detail["quantization"][0])
        check_spec(graph, spec, shape=detail["shape"].tolist(), dtype=detail["dtype"], scale=scale)
    return [int(detail["index"]) for detail in ordered]


def _open(module: str, extra: str, data: bytes, graph: Graph) -> GraphRunner:
    try:
        library = importlib.import_module(module)
    except ImportError as exc:
        raise MissingExtraError(module.partition(".")[0], extra) from exc
    try:
        interpreter = library.Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as exc:
        raise IntegrityError(f"{graph.file} does not load: {exc}", hint="export the bundle again") from exc
    return TfLiteRunner(interpreter, graph)


@interpreters.register("litert")
class LiteRt:
    """Google's LiteRT, the default."""

    format: ClassVar[Format] = Format.TFLITE
    module: ClassVar[str] = "ai_edge_litert.interpreter"
    extra: ClassVar[str] = "litert"

    @classmethod
    def open_graph(cls, data: bytes, graph: Graph) -> GraphRunner:
        """Load a TFLite graph."""
        return _open(cls.module, cls.extra, data, graph)


@interpreters.register("tflite_runtime")
class TfLiteRuntime:
    """The older ``tflite_runtime``, for boards that have it. It dies on some broken files: verify bundles first."""

    format: ClassVar[Format] = Format.TFLITE
    module: ClassVar[str] = "tflite_runtime.interpreter"
    extra: ClassVar[str] = "litert"  # the successor; tflite_runtime itself gets no new releases

    @classmethod
    def open_graph(cls, data: bytes, graph: Graph) -> GraphRunner:
        """Load a TFLite graph."""
        return _open(cls.module, cls.extra, data, graph)
