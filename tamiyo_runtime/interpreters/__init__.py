"""Interpreters: what runs a graph. TFLite by LiteRT or the older tflite_runtime, ONNX by ONNX Runtime.

Importing ``litert`` and ``ort`` files them in the registry; the libraries they wrap are imported on first use only.
"""

from tamiyo_runtime.interpreters import litert, ort
from tamiyo_runtime.interpreters.base import (
    GraphError,
    GraphRunner,
    Interpreter,
    available,
    choose,
    interpreters,
    open_graph,
)

__all__ = [
    "GraphError",
    "GraphRunner",
    "Interpreter",
    "available",
    "choose",
    "interpreters",
    "litert",
    "open_graph",
    "ort",
]
