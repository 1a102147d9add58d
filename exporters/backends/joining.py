"""Float TFLite files one after the other as one file: what a configuration is when it runs as a whole.

Converting takes seconds and joining milliseconds, so each piece is converted once however many configurations it is
part of; and whole configurations compute to the last bit what the chain of their pieces does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.backends.flatbuffer import tidy
from exporters.backends.toolchain import tool
from tamiyo_runtime.contracts.errors import TamiyoError


def join(files: Sequence[bytes], *, name: str) -> bytes:
    """The chain of ``files``, each of one input and one output, as a file of its own.

    Raises TamiyoError when one file does not take what the one before it gives.
    """
    schema = tool("ai_edge_litert.schema_py_generated")
    first, *others = (schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)) for data in files)
    for other in others:
        _append(first, other, name)
    for signature in first.signatureDefs or ():
        signature.outputs[0].tensorIndex = int(first.subgraphs[0].outputs[0])
    return tidy(bytes(tool("ai_edge_litert.tools.flatbuffer_utils").convert_object_to_bytearray(first)), name=name)


def _append(model: Any, other: Any, name: str) -> None:
    """Put ``other`` behind ``model``: its input becomes the output tensor, all else is added with shifted indices."""
    main, more = model.subgraphs[0], other.subgraphs[0]
    seam, entry = int(main.outputs[0]), int(more.inputs[0])
    given, taken = main.tensors[seam], more.tensors[entry]
    before, after = [int(n) for n in given.shape], [int(n) for n in taken.shape]
    if before != after or given.type != taken.type:
        raise TamiyoError(f"{name}: a piece gives {before}, the next takes {after}")
    buffers, codes = len(model.buffers), _merged(model, other)
    moved = {entry: seam, -1: -1}
    for index, tensor in enumerate(more.tensors):
        if index != entry:
            moved[index] = len(main.tensors)
            tensor.buffer += buffers
            main.tensors.append(tensor)
    model.buffers += other.buffers
    for operator in more.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]
        operator.inputs = [moved[int(i)] for i in operator.inputs]
        operator.outputs = [moved[int(i)] for i in operator.outputs]
        if operator.intermediates is not None:
            operator.intermediates = [moved[int(i)] for i in operator.intermediates]
        main.operators.append(operator)
    main.outputs = [moved[int(more.outputs[0])]]


def _merged(model: Any, other: Any) -> list[int]:
    """Where each operator code of ``other`` is found in ``model``, after adding those that it does not have."""

    def key(code: Any) -> tuple[Any, ...]:
        return code.builtinCode, code.deprecatedBuiltinCode, code.version, code.customCode

    found = []
    for code in other.operatorCodes:
        keys = [key(item) for item in model.operatorCodes]
        if key(code) not in keys:
            model.operatorCodes.append(code)
            keys.append(key(code))
        found.append(keys.index(key(code)))
    return found
