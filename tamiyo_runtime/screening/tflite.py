"""TFLite files: every offset inside the file, every index inside its list, every constant as large as its shape.

Field numbers are those of ``schema.fbs`` (tensorflow/lite, version 3), counted from 0; a union counts twice. Of an
operator's options only the table's bounds are checked; what an operator does with values inside the bounds (a stride of
0, an axis out of range) is left to the interpreter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tamiyo_runtime.screening.flatbuffer import Table
from tamiyo_runtime.screening.unsafe import UnsafeGraph, check_memory, elements

_IDENTIFIER = b"TFL3"
# Bytes an element by type code; strings, resources and types of less than a byte are not in it.
_ITEM_BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2}
_OPTIONS = (4, 12)  # an operator's unions of options
_ABSENT = -1  # an optional input that is left out


def check_tflite(data: bytes) -> None:
    """Raise UnsafeGraph unless this is a TFLite model whose parts all lie inside it and are of sane size."""
    if data[4:8] != _IDENTIFIER:
        raise UnsafeGraph("is not a TFLite model")
    model = Table.root(data)
    codes = sum(1 for _ in model.tables(1))
    buffers = [_buffer_bytes(buffer, len(data)) for buffer in model.tables(4)]
    subgraphs = list(model.tables(2))
    if not subgraphs or not buffers:
        raise UnsafeGraph("is not a TFLite model: it holds no graph")
    if model.span(8, 4)[1] or model.span(9, 4)[1]:
        raise UnsafeGraph("keeps data outside itself (TFLite external buffers), which no bundle may")
    model.span(3, 1)
    _inside(model.numbers(5, "i"), len(buffers), "buffer")
    for entry in model.tables(6):  # metadata: name, buffer
        entry.span(0, 1)
        _inside([entry.scalar(1, "I")], len(buffers), "buffer")
    total_bytes = sum(_check_subgraph(subgraph, codes, buffers, len(data)) for subgraph in subgraphs)
    check_memory(total_bytes)
    for signature in model.tables(7):
        tensors = _known(subgraphs, signature.scalar(4, "I"))
        for entry in (*signature.tables(0), *signature.tables(1)):
            _inside([entry.scalar(1, "I")], tensors, "tensor")


def _buffer_bytes(buffer: Table, file_bytes: int) -> int:
    """Bytes of a constant; ``offset`` and ``size`` (fields 1 and 2) place it behind the flatbuffer."""
    start, size = buffer.scalar(1, "Q"), buffer.scalar(2, "Q")
    if start > 1 or size > 1:  # 0 and 1 stand for: in field 0
        _behind(start, size, file_bytes)
        return size
    return buffer.span(0, 1)[1]


def _behind(start: int, size: int, file_bytes: int) -> None:
    if start + size > file_bytes:
        raise UnsafeGraph(f"keeps {size} bytes of data at byte {start}, outside itself")


def _check_subgraph(subgraph: Table, codes: int, buffers: Sequence[int], file_bytes: int) -> int:
    """Check a graph; returns the bytes of the tensors that it computes."""
    sizes = [_tensor_bytes(tensor, buffers) for tensor in subgraph.tables(0)]
    _inside(subgraph.numbers(1, "i"), len(sizes), "tensor")
    _inside(subgraph.numbers(2, "i"), len(sizes), "tensor")
    for operator in subgraph.tables(3):
        _inside([operator.scalar(0, "I")], codes, "operator code")
        optional = [index for index in operator.numbers(1, "i") if index != _ABSENT]
        _inside(optional, len(sizes), "tensor")
        _inside(operator.numbers(2, "i"), len(sizes), "tensor")
        _inside([index for index in operator.numbers(8, "i") if index != _ABSENT], len(sizes), "tensor")
        for field in _OPTIONS:
            operator.table(field)
        operator.span(5, 1)
        _behind(operator.scalar(9, "Q"), operator.scalar(10, "Q"), file_bytes)
    subgraph.span(4, 1)
    return sum(sizes)


def _tensor_bytes(tensor: Table, buffers: Sequence[int]) -> int:
    """Check a tensor; returns its bytes, 0 for a constant, which lies in the file."""
    shape = tensor.numbers(0, "i")
    buffer = tensor.scalar(2, "I")
    _inside([buffer], len(buffers), "buffer")
    tensor.span(3, 1)
    tensor.numbers(7, "i")
    quantisation = tensor.table(4)
    if quantisation is not None:
        _check_quantisation(quantisation, len(shape))
    stored, item_bytes = buffers[buffer], _ITEM_BYTES.get(tensor.scalar(1, "b"))
    size = elements(shape, "in TFLite") * (item_bytes or 1)
    if not stored:
        return size
    if item_bytes and not tensor.has(6) and stored != size:  # field 6: sparse, stored in fewer bytes
        raise UnsafeGraph(f"has a constant of shape {list(shape)} with {stored} bytes in place of {size}")
    return 0


def _check_quantisation(quantisation: Table, rank: int) -> None:
    scales, zeros = quantisation.span(2, 4)[1], quantisation.span(3, 8)[1]
    quantisation.span(0, 4)
    quantisation.span(1, 4)
    quantisation.table(5)
    if zeros not in (0, scales):
        raise UnsafeGraph(f"has a tensor with {scales} scales and {zeros} zero points")
    axis = quantisation.scalar(6, "i")
    if scales > 1 and not 0 <= axis < rank:
        raise UnsafeGraph(f"has a tensor of {rank} dimensions that is quantised along dimension {axis}")


def _known(subgraphs: Sequence[Table], index: int) -> int:
    """Number of tensors of a graph that a signature names."""
    _inside([index], len(subgraphs), "graph")
    return sum(1 for _ in subgraphs[index].tables(0))


def _inside(indices: Iterable[int], count: int, what: str) -> None:
    for index in indices:
        if not 0 <= index < count:
            raise UnsafeGraph(f"names {what} {index} of {count}")
