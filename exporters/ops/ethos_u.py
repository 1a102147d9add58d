"""The operators of Arm's Ethos-U, after the list that its compiler, Vela 5.2, writes of itself.

These are the operators that the U55, U65 and U85 all take: what training may propose and what a first look at a graph
goes by. Limits of shape, stride and padding are not repeated here, since the compiler runs at every export for such a
device and its word on each operator of each graph takes the place of this table.
"""

from __future__ import annotations

from exporters.backends.flatbuffer import Operator
from exporters.ops.table import OperatorTable, tables

_INTEGERS = frozenset({"int8", "uint8", "int16", "int32"})


def integers_only(operator: Operator) -> str | None:
    """Feature maps are integers."""
    for tensor in (*operator.inputs, *operator.outputs):
        if not tensor.constant and tensor.dtype not in _INTEGERS:
            return f"computes in {tensor.dtype}, the Ethos-U in integers only"
    return None


_OPERATORS = (
    *("ABS", "ADD", "ARG_MAX", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"),
    *("ELU", "EXP", "EXPAND_DIMS", "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC"),
    *("MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "PACK", "PAD", "PADV2", "PRELU"),
    *("QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "RSQRT", "SLICE", "SOFTMAX", "SPLIT", "SPLIT_V"),
    *("SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE", "TRANSPOSE_CONV"),
    *("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNPACK"),
)

ETHOS_U = OperatorTable(
    id="ethos-u",
    device="Ethos-U",
    source="Vela 5.2, supported operators of Ethos-U55, U65 and U85",
    verified=True,
    rules=dict.fromkeys(_OPERATORS, ()),
    general=(integers_only,),
    one_partition=False,
)
tables.register(ETHOS_U.id)(ETHOS_U)
