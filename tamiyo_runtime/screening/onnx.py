"""ONNX files: no data outside the file, no tensor of absurd size, nothing that is not protobuf.

The fields are those of ``onnx.proto3`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), the encoding that of
https://protobuf.dev/programming-guides/encoding. Only what can hold a tensor is walked. What operators allocate when
they run (``ConstantOfShape``, ``Expand``) is not covered.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamiyo_runtime.screening.unsafe import UnsafeGraph, check_memory, elements

_MAX_DEPTH = 32  # subgraphs within subgraphs
_MAX_FIELDS = 1 << 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> field number -> message inside it.
_HOLDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
_DIMS, _EXTERNAL_DATA, _DATA_LOCATION = 1, 13, 14  # of a tensor


def check_onnx(data: bytes) -> None:
    """Raise UnsafeGraph unless this is a self-contained ONNX model of sane size."""
    waiting: list[tuple[str, int, int, int]] = [("model", 0, len(data), 0)]
    read = total_bytes = graphs = 0
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > 3 * _MAX_DEPTH:  # a subgraph is three messages below its graph: node, attribute, graph
            raise UnsafeGraph(f"nests more than {_MAX_DEPTH} graphs")
        graphs += kind == "graph"
        dims: list[int] = []
        for number, wire, value, stop in _fields(data, start, end):
            read += 1
            if read > _MAX_FIELDS:
                raise UnsafeGraph(f"has more than {_MAX_FIELDS} fields")
            if kind == "tensor":
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value):
                    raise UnsafeGraph("keeps data outside itself (ONNX external data), which no bundle may")
                if number == _DIMS:
                    dims += [value] if wire == _VARINT else _packed(data, value, stop)
            elif wire == _BYTES and number in _HOLDS[kind]:
                waiting.append((_HOLDS[kind][number], value, stop, depth + 1))
        if dims:
            total_bytes += elements(dims, "in ONNX")  # at least a byte each
            check_memory(total_bytes)
    if not graphs:
        raise UnsafeGraph("is not an ONNX model: it holds no graph")


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and the value of a varint or the bounds of everything else."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, at
            continue
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise UnsafeGraph("is not an ONNX model: it is not protobuf")
        if length < 0 or length > end - at:
            raise UnsafeGraph("is truncated, or is not an ONNX model")
        yield number, wire, at, at + length
        at += length


def _packed(data: bytes, start: int, end: int) -> list[int]:
    values = []
    while start < end:
        value, start = _varint(data, start, end)
        values.append(value)
    return values


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A 64-bit varint, read as signed, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise UnsafeGraph("is truncated, or is not an ONNX model")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            value &= (1 << 64) - 1
            return (value - (1 << 64) if value >> 63 else value), at
    raise UnsafeGraph("is not an ONNX model: a number in it does not end")
