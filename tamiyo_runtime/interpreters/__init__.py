"""Interpreters: what runs a graph. TFLite by LiteRT or the older tflite_runtime, ONNX by ONNX Runtime."""

from tamiyo_runtime.interpreters import litert as _litert  # files itself in the registry
from tamiyo_runtime.interpreters import ort as _ort  # likewise
from tamiyo_runtime.interpreters.base import (
    GraphError,
    GraphRunner,
    Interpreter,
    available,
    choose,
    interpreters,
    open_graph,
)

__all__ = ["GraphError", "GraphRunner", "Interpreter", "available", "choose", "interpreters", "open_graph"]
