"""Operators of a TFLite file as the cost model sees them: multiply-accumulates, matrix products and bytes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from device_profiles.cost import Op, OpKind
from exporters.backends.flatbuffer import Operator
from exporters.ops.liveness import Access, live_bytes

_KINDS: dict[OpKind, frozenset[str]] = {
    OpKind.CONV2D: frozenset({"CONV_2D", "TRANSPOSE_CONV"}),
    OpKind.DEPTHWISE_CONV2D: frozenset({"DEPTHWISE_CONV_2D"}),
    OpKind.FULLY_CONNECTED: frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"}),
    OpKind.POOL: frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"}),
    OpKind.ELEMENTWISE: frozenset(
        {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "SELECT_V2"}
    ),
    OpKind.ACTIVATION: frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "PRELU", "LEAKY_RELU", "HARD_SWISH", "ABS", "NEG"}),
    OpKind.DATA_MOVEMENT: frozenset(
        {
            *("RESHAPE", "TRANSPOSE", "PAD", "PADV2", "CONCATENATION", "SLICE", "STRIDED_SLICE", "SPLIT", "SQUEEZE"),
            *("EXPAND_DIMS", "PACK", "UNPACK", "QUANTIZE", "DEQUANTIZE", "CAST", "GATHER", "TILE", "BROADCAST_TO"),
            *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
        }
    ),
}
_KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes}


def kind_of(code: str) -> OpKind:
    """Class of an operator; one that is not listed (GELU, EXP, RSQRT ...) counts as the dearest by the byte."""
    return _KIND_OF.get(code, OpKind.SOFTMAX)


def macs_of(operator: Operator) -> int:
    """Multiply-accumulates of one invocation; 0 for what has none."""
    out = operator.outputs[0].size
    if operator.code == "CONV_2D":
        return out * math.prod(operator.inputs[1].shape[1:])  # filter (out, height, width, in)
    if operator.code == "DEPTHWISE_CONV_2D":
        return out * math.prod(operator.inputs[1].shape[1:3])  # filter (1, height, width, channels)
    if operator.code == "FULLY_CONNECTED":
        return out * operator.inputs[1].shape[-1]  # filter (out, in)
    if operator.code == "TRANSPOSE_CONV":
        filters = operator.inputs[1]  # filter (out, height, width, in); inputs: shape, filter, image
        return operator.inputs[2].size * math.prod(filters.shape[:3])
    if operator.code == "BATCH_MATMUL":
        return out * operator.inputs[0].shape[-1]
    return 0


def _product(operator: Operator) -> tuple[tuple[int, int, int] | None, int, int]:
    """The matrix product (M, K, N) that an operator amounts to, how many of it, and the positions of its window."""
    out = operator.outputs[0].size
    if operator.code == "CONV_2D":  # filter (out, height, width, in of a group)
        channels, height, width, depth = operator.inputs[1].shape
        groups = max(1, operator.inputs[0].shape[-1] // depth)
        return (out // channels, height * width * depth, channels // groups), groups, height * width
    if operator.code == "DEPTHWISE_CONV_2D":
        _, height, width, channels = operator.inputs[1].shape
        return (out // channels, height * width, 1), channels, height * width
    if operator.code == "FULLY_CONNECTED":
        features, depth = operator.inputs[1].shape
        return (out // features, depth, features), 1, 1
    if operator.code == "TRANSPOSE_CONV":
        channels, height, width, depth = operator.inputs[1].shape
        return (operator.inputs[2].size // depth, depth, channels * height * width), 1, 1
    if operator.code == "BATCH_MATMUL":
        rows, columns = operator.outputs[0].shape[-2:]
        return (rows, operator.inputs[0].shape[-1], columns), max(1, out // (rows * columns)), 1
    return None, 1, 1


def count(operators: Sequence[Operator], *, on_host: Collection[int] = ()) -> tuple[Op, ...]:
    """The operators of a graph for the cost model; those whose index is in ``on_host`` run beside the accelerator."""
    accesses = [
        Access(
            reads=[id(tensor) for tensor in operator.inputs if not tensor.constant],
            writes=[id(tensor) for tensor in operator.outputs],
        )
        for operator in operators
    ]
    sizes = {id(tensor): tensor.size_bytes for item in operators for tensor in (*item.inputs, *item.outputs)}
    ops = []
    for operator, live in zip(operators, live_bytes(accesses, sizes), strict=True):
        kind = kind_of(operator.code)
        weights = [t for t in operator.inputs if t.constant and (kind is not OpKind.DATA_MOVEMENT and t.size > 1)]
        if kind is OpKind.POOL:
            weights = []  # the axes to reduce are no weights
        gemm, groups, window = _product(operator)
        ops.append(
            Op(
                kind=kind,
                macs=macs_of(operator),
                weight_bytes=sum(tensor.size_bytes for tensor in weights),
                input_bytes=sum(tensor.size_bytes for tensor in operator.inputs if not tensor.constant),
                output_bytes=sum(tensor.size_bytes for tensor in operator.outputs),
                on_accelerator=operator.index not in on_host,
                params=sum(tensor.size for tensor in weights),
                code=operator.code,
                gemm=gemm,
                groups=groups,
                window=window,
                live_bytes=live,
            )
        )
    return tuple(ops)
