"""An ONNX file of somebody else: read without trusting it, and brought into the form that the exporters write.

What a file may ask to have read is checked before anything is: external data must lie in the model's own folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.backends.onnx import INPUT, OUTPUT
from exporters.backends.toolchain import converting, quiet, tool
from tamiyo_runtime.archive import MAX_MEMBER_BYTES
from tamiyo_runtime.contracts.errors import IncompatibleError, IntegrityError
from tamiyo_runtime.files import read_bytes

DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
"""Where the operators come from that ONNX Runtime has built in."""
_BROKEN = "export the model again, with its data in the file itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A model of one float32 input ``x`` and one output ``y``, batch 1, slimmed. ``shape``: of a sample."""

    data: bytes
    model: Any
    shape: tuple[int, ...]
    outputs: int
    opset: int


def read_onnx(path: Path) -> Imported:
    """Read, check, fix the batch to 1 and slim a classifier.

    Raises InputError when there is no such file, IntegrityError when it is no ONNX model, breaks the format's rules, is
    larger than a bundle may hold or reaches outside its folder, and IncompatibleError, naming the node or tensor, for
    what ONNX Runtime's built-in operators or the runtime's one input and output cannot express.
    """
    onnx, onnxslim = tool("onnx"), tool("onnxslim")
    raw = read_bytes(path, limit_bytes=MAX_MEMBER_BYTES, what="ONNX model")
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as exc:  # protobuf raises its own kinds, which are no public API
        raise IntegrityError(f"{path.name} is not an ONNX model", hint="pass a .onnx file") from exc
    if not model.graph.node:
        raise IntegrityError(f"{path.name} is not an ONNX model: it holds no operators", hint="pass a .onnx file")
    _inline(model, path)
    _check_operators(model)
    _fix_ends(model, path.name)
    try:
        with quiet():
            onnx.checker.check_model(model, full_check=True)
    except Exception as exc:  # likewise: ValidationError, InferenceError, RuntimeError
        raise IntegrityError(f"{path.name} breaks the rules of ONNX: {_first(exc)}", hint=_BROKEN) from exc
    _strip(model)
    with converting(path.name, "onnxslim"):
        slim = onnx.shape_inference.infer_shapes(onnxslim.slim(model))
        _strip(slim)
        data = bytes(slim.SerializeToString(deterministic=True))
    if len(data) > MAX_MEMBER_BYTES:
        raise IntegrityError(
            f"{path.name} has {len(data)} bytes with its data, the limit is {MAX_MEMBER_BYTES}",
            hint="bundles are for small devices; use a smaller network",
        )
    answer = [item.dim_value for item in slim.graph.output[0].type.tensor_type.shape.dim]
    if len(answer) != 2 or answer[0] != 1 or answer[1] < 2:
        raise IncompatibleError(
            f"output of shape {answer} for one sample", hint="a classifier answers (1, classes), classes 2 or more"
        )
    shape = tuple(item.dim_value for item in slim.graph.input[0].type.tensor_type.shape.dim)[1:]
    opset = max(item.version for item in slim.opset_import if item.domain in {"", "ai.onnx"})
    return Imported(data=data, model=slim, shape=shape, outputs=answer[1], opset=opset)


def _inline(model: Any, path: Path) -> None:
    """Take external data into the model; every location is checked before the first is read."""
    onnx = tool("onnx")
    folder = path.resolve().parent
    total = 0
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        fields = {item.key: item.value for item in tensor.external_data}
        location = fields.get("location", "")
        place = folder / location
        what = f"{path.name}: the data of '{tensor.name}' lie in {location!r}"
        inside = bool(location) and not Path(location).is_absolute() and "\\" not in location
        if not inside or ".." in Path(location).parts or not place.resolve().is_relative_to(folder):
            raise IntegrityError(f"{what}, outside the model's folder", hint="don't use it; ask where it comes from")
        if not place.is_file():
            raise IntegrityError(f"{what}, which is missing", hint="put the data file beside the model")
        offset, length = _number(fields.get("offset", "0")), _number(fields.get("length", "0"))
        have = place.stat().st_size
        if offset is None or length is None or offset + length > have:
            raise IntegrityError(f"{what}, which has {have} bytes and not the part it names", hint=_BROKEN)
        total += length or have - offset
        if total > MAX_MEMBER_BYTES:
            raise IntegrityError(
                f"{path.name}: over {MAX_MEMBER_BYTES} bytes of data beside it",
                hint="bundles are for small devices; use a smaller network",
            )
    try:
        with quiet():
            onnx.load_external_data_for_model(model, str(folder))
    except Exception as exc:  # ValidationError of the library's own look at the paths
        raise IntegrityError(f"{path.name}: its data cannot be read: {_first(exc)}", hint=_BROKEN) from exc


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    for each in _graphs(graph):
        yield from each.initializer
        for sparse in each.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in each.node:
            for attribute in node.attribute:
                yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)


def _check_operators(model: Any) -> None:
    if model.functions:
        raise IncompatibleError(
            f"the model brings functions of its own, such as '{model.functions[0].name}'", hint="export it inlined"
        )
    onnx = tool("onnx")
    versions = {item.domain: item.version for item in model.opset_import}
    newest = onnx.defs.onnx_opset_version()
    version = versions.get("", versions.get("ai.onnx", 0))
    if not 7 <= version <= newest:
        raise IncompatibleError(f"opset {version}; 7 to {newest} are understood", hint="export it with opset 20")
    for graph in _graphs(model.graph):
        for node in graph.node:
            known = node.domain not in {"", "ai.onnx"} or onnx.defs.has(node.op_type, version)
            if node.domain not in DOMAINS or not known:
                name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
                raise IncompatibleError(
                    f"node '{node.name or node.output[0]}': operator {name} is not one of opset {version}",
                    hint="write it with ONNX's own operators: https://onnx.ai/onnx/operators",
                )


def _fix_ends(model: Any, name: str) -> None:
    """One float32 input of fixed shape, batch 1, called x; one output called y."""
    onnx = tool("onnx")
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    for what, ends in (("inputs", inputs), ("outputs", model.graph.output)):
        if len(ends) != 1:
            names = ", ".join(repr(item.name) for item in ends)
            raise IncompatibleError(f"{name} has {len(ends)} {what} ({names}), a bundle's network has one")
    kind = inputs[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        number = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise IncompatibleError(f"input '{inputs[0].name}' is {number}, a bundle's network takes float32")
    sizes = kind.shape.dim
    if not 2 <= len(sizes) <= 4:
        raise IncompatibleError(
            f"input '{inputs[0].name}' has {len(sizes)} dimensions", hint="batch first, then one to three of a sample"
        )
    for axis, size in enumerate(sizes):
        if axis == 0 and size.dim_value in {0, 1}:
            size.dim_value = 1  # a name, nothing, or 1 already
        elif axis == 0:
            raise IncompatibleError(f"{name} is fixed to batches of {size.dim_value}", hint="export it for batch 1")
        elif size.dim_value < 1:
            shown = size.dim_param or "?"
            raise IncompatibleError(
                f"input '{inputs[0].name}': dimension {axis} ('{shown}') is dynamic, only the batch may be",
                hint="export it for the one size that the device will see",
            )
    del model.graph.value_info[:]  # made for other batches
    model.graph.output[0].type.tensor_type.ClearField("shape")
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    _rename(model.graph, inputs[0].name, INPUT)
    _rename(model.graph, model.graph.output[0].name, OUTPUT)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    model.graph.output[0].CopyFrom(inferred.graph.output[0])


def _rename(graph: Any, old: str, new: str) -> None:
    if old == new:
        return
    for each in _graphs(graph):
        for item in (*each.input, *each.output, *each.initializer, *each.value_info):
            item.name = _swapped(item.name, old, new)
        for node in each.node:
            for names in (node.input, node.output):
                names[:] = [_swapped(name, old, new) for name in names]


def _swapped(name: str, old: str, new: str) -> str:
    """The new name for the old, and the old for a tensor that has the new one already."""
    return new if name == old else old if name == new else name


def _strip(model: Any) -> None:
    """Take out notes, which may hold paths and source lines."""
    model.producer_name, model.producer_version, model.graph.name = "tamiyo", "", "main"
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in _graphs(model.graph):
        graph.doc_string = ""
        for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            item.doc_string = ""
            if hasattr(item, "metadata_props"):
                del item.metadata_props[:]
        for index, node in enumerate(graph.node):
            node.name = f"{node.op_type}{index}"


def _first(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
