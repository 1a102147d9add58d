"""The kernels an int8 TFLite graph can be run on here, behind one function type: raw arrays in, raw array out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from exporters.backends.flatbuffer import Model, read_model
from exporters.backends.toolchain import tool

Call = Callable[..., Any]
"""Raw tensors, one an input in the file's order, to the raw first output, as a copy."""
Opener = Callable[[bytes], Call]

DEFAULT, PLAIN, REFERENCE, MICRO = "litert", "litert without xnnpack", "litert reference", "tflite-micro"
_ARENA_BYTES = 1 << 18  # for bookkeeping, on top of the activations


def micro_installed() -> bool:
    """Whether TFLite Micro's Python package is there; it has wheels for x86-64 only."""
    return find_spec("tflite_micro") is not None


def _litert(resolver: str) -> Opener:
    def open_(data: bytes) -> Call:
        library = tool("ai_edge_litert.interpreter")
        interpreter = library.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=getattr(library.OpResolverType, resolver),
        )
        interpreter.allocate_tensors()
        taken = [item["index"] for item in interpreter.get_input_details()]
        given = interpreter.get_output_details()[0]["index"]

        def call(*values: Any) -> Any:
            for index, value in zip(taken, values, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            return interpreter.get_tensor(given)

        return call

    return open_


def _micro(data: bytes) -> Call:
    runtime = tool("tflite_micro").runtime
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=_arena_bytes(read_model(data)))

    def call(*values: Any) -> Any:
        for index, value in enumerate(values):
            interpreter.set_input(value, index)
        interpreter.invoke()
        return interpreter.get_output(0).copy()

    return call


def _arena_bytes(model: Model) -> int:
    """Enough for every activation at once; it is a desktop that allocates it."""
    tensors = {t.name: t.size_bytes for o in model.operators for t in (*o.inputs, *o.outputs) if not t.constant}
    return _ARENA_BYTES + 2 * sum(tensors.values())


OPENERS: Mapping[str, Opener] = {
    DEFAULT: _litert("AUTO"),
    PLAIN: _litert("BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    REFERENCE: _litert("BUILTIN_REF"),
    MICRO: _micro,
}
