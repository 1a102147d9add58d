"""Operators of an ONNX graph as the cost model sees them: multiply-accumulates and bytes, from inferred shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from device_profiles.cost import Op, OpKind
from tamiyo_runtime.contracts.plan import Precision

_KINDS: dict[OpKind, frozenset[str]] = {
    OpKind.FULLY_CONNECTED: frozenset({"Gemm", "MatMul", "FusedMatMul"}),
    OpKind.POOL: frozenset(
        {
            *("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"),
            *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"),
        }
    ),
    OpKind.ELEMENTWISE: frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Where"}),
    OpKind.ACTIVATION: frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Abs", "Neg"}),
    OpKind.DATA_MOVEMENT: frozenset(
        {
            *("Reshape", "Flatten", "Transpose", "Pad", "Concat", "Slice", "Split", "Squeeze", "Unsqueeze", "Cast"),
            *("Gather", "Expand", "Tile", "Resize", "DepthToSpace", "SpaceToDepth", "Identity"),
            *("QuantizeLinear", "DequantizeLinear"),
        }
    ),
}
_KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes}
_FREE = frozenset({"Constant", "Shape", "Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_FUSED = frozenset({"Relu", "Clip", "BatchNormalization"})


def count(model: Any, *, precision: Precision) -> tuple[Op, ...]:
    """The operators of a model with inferred shapes, sizes as stored in ``precision``.

    Views cost nothing; an activation or a batch norm behind a convolution or a product is fused with it, as ONNX
    Runtime does. A shape that could not be inferred counts as one element.
    """
    item = 4 if precision is Precision.FLOAT32 else 1
    graph = model.graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: tuple(max(1, size.dim_value) for size in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output, *graph.value_info)
    } | constants
    ops: list[Op] = []
    for node in graph.node:
        fused = node.op_type in _FUSED and bool(ops) and ops[-1].macs > 0
        if node.op_type in _FREE or fused:
            continue
        weights = [name for name in node.input if name in constants and math.prod(constants[name]) > 1]
        kind = _kind(node, shapes)
        if kind in {OpKind.POOL, OpKind.DATA_MOVEMENT}:
            weights = []  # axes and shapes are no weights
        params = sum(math.prod(constants[name]) for name in weights)
        reads = [name for name in node.input if name and name not in constants]
        ops.append(
            Op(
                kind=kind,
                macs=_macs(node, shapes),
                weight_bytes=params * item,
                input_bytes=sum(_size(shapes, name) for name in reads) * item,
                output_bytes=sum(_size(shapes, name) for name in node.output if name) * item,
                params=params,
                code=node.op_type,
            )
        )
    return tuple(ops)


def _kind(node: Any, shapes: Mapping[str, Sequence[int]]) -> OpKind:
    if node.op_type in {"Conv", "ConvTranspose"}:
        groups = next((item.i for item in node.attribute if item.name == "group"), 1)
        channels = shapes.get(node.input[0], (1, 0))[1]
        return OpKind.DEPTHWISE_CONV2D if groups > 1 and groups == channels else OpKind.CONV2D
    return _KIND_OF.get(node.op_type, OpKind.SOFTMAX)


def _macs(node: Any, shapes: Mapping[str, Sequence[int]]) -> int:
    out = _size(shapes, node.output[0])
    if node.op_type == "Conv":  # weight (out, in of a group, *window)
        return out * math.prod(shapes.get(node.input[1], (0, 0))[1:])
    if node.op_type == "ConvTranspose":  # weight (in, out of a group, *window)
        return _size(shapes, node.input[0]) * math.prod(shapes.get(node.input[1], (0, 0))[1:])
    if node.op_type == "Gemm":
        across = any(item.name == "transA" and item.i for item in node.attribute)
        return out * shapes.get(node.input[0], (0, 0))[0 if across else -1]
    if node.op_type in {"MatMul", "FusedMatMul"}:
        return out * shapes.get(node.input[0], (0,))[-1]
    return 0


def _size(shapes: Mapping[str, Sequence[int]], name: str) -> int:
    return math.prod(shapes.get(name, (1,)))
