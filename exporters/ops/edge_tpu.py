"""The Edge TPU's operators and their limits, after Coral's page "TensorFlow models on the Edge TPU".

The page of Axis on supported operators of ARTPEC-7, a chip with the same accelerator, repeats its table.
The vendor's compiler can't be had from any package index, so these rules are not confirmed by it; the report says so.
Where the page is unclear the rule is the strict reading.
"""

from __future__ import annotations

from exporters.backends.flatbuffer import Operator
from exporters.ops.table import OperatorTable, Rule, tables

_MAX_INNER_DIMENSIONS = 3
_DEFAULT_WEIGHTS = 0
_FIRST_UNKNOWN_VERSION = {"CONV_2D": 6, "TRANSPOSE_CONV": 4, "QUANTIZE": 3}


def all_int8(operator: Operator) -> str | None:
    """Every tensor is 8 bits wide; biases are int32, and shapes and axes are constants."""
    for tensor in (*operator.inputs, *operator.outputs):
        if not tensor.constant and tensor.dtype not in {"int8", "uint8"}:
            return f"computes in {tensor.dtype}, the Edge TPU in 8 bits only"
    return None


def known_version(operator: Operator) -> str | None:
    """The last compiler, 16.0, is of 2021: it does not parse later versions of operators (from public reports)."""
    first_unknown = _FIRST_UNKNOWN_VERSION.get(operator.code)
    if first_unknown is None or operator.version < first_unknown:
        return None
    return f"is version {operator.version}; the compiler knows versions below {first_unknown}"


def at_most_three_dimensions(operator: Operator) -> str | None:
    """Only the three innermost dimensions of an activation may exceed 1."""
    for tensor in (*operator.inputs, *operator.outputs):
        outer = tensor.shape[:-_MAX_INNER_DIMENSIONS]
        if not tensor.constant and any(n > 1 for n in outer):
            return f"has a tensor {list(tensor.shape)}; only the three innermost dimensions may exceed 1"
    return None


def equal_dilation(operator: Operator) -> str | None:
    """Dilation in x equals dilation in y."""
    across, down = operator.options.get("dilationWFactor", 1), operator.options.get("dilationHFactor", 1)
    return None if across == down else f"is dilated {down} x {across}; the Edge TPU wants both equal"


def no_fused_activation(operator: Operator) -> str | None:
    """Pooling and concatenation take no activation."""
    return "has a fused activation" if operator.options.get("fusedActivationFunction", 0) else None


def flat_output(operator: Operator) -> str | None:
    """A fully connected layer answers one vector."""
    shape = operator.outputs[0].shape
    return None if all(n == 1 for n in shape[:-1]) else f"answers {list(shape)}; the Edge TPU wants one vector"


def default_weights(operator: Operator) -> str | None:
    """Weights of a fully connected layer in the default format, one scale for all of them."""
    if operator.options.get("weightsFormat", _DEFAULT_WEIGHTS) != _DEFAULT_WEIGHTS:
        return "has shuffled weights"
    if len(operator.inputs[1].scales) > 1:
        return "has weights quantised per channel, which the compiler of 2021 does not know for this operator"
    return None


def one_dimensional(operator: Operator) -> str | None:
    """A softmax over one vector."""
    shape = operator.inputs[0].shape
    return None if all(n == 1 for n in shape[:-1]) else f"works on {list(shape)}; the Edge TPU wants one vector"


def not_over_batch(operator: Operator) -> str | None:
    """A reduction leaves the batch alone; along the channels their number must be a multiple of 4."""
    shape = operator.inputs[0].shape
    rank = len(shape)
    axes = {axis % rank for axis in operator.values.get(1, ())}
    if 0 in axes and rank > 1:
        return "reduces over the batch"
    if rank - 1 in axes and shape[-1] % 4:
        return f"reduces over {shape[-1]} channels; the Edge TPU wants a multiple of 4"
    return None


def not_in_batch(operator: Operator) -> str | None:
    """Padding amounts are constants and leave the batch alone."""
    amounts = operator.values.get(1)
    if amounts is None:
        return "is padded by amounts that are not constant"
    return "pads the batch" if any(amounts[:2]) else None


_UNLIMITED = (
    *("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "RSQRT", "RELU", "RELU6", "RELU_N1_TO_1"),
    *("LOGISTIC", "TANH", "QUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT"),
    *("SPACE_TO_DEPTH", "TRANSPOSE", "TRANSPOSE_CONV", "L2_NORMALIZATION", "RESIZE_BILINEAR"),
    "RESIZE_NEAREST_NEIGHBOR",
)
_RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(_UNLIMITED, ()),
    "CONV_2D": (equal_dilation,),
    "DEPTHWISE_CONV_2D": (equal_dilation,),
    "FULLY_CONNECTED": (default_weights, flat_output),
    "AVERAGE_POOL_2D": (no_fused_activation,),
    "MAX_POOL_2D": (no_fused_activation,),
    "CONCATENATION": (no_fused_activation,),
    "SOFTMAX": (one_dimensional,),
    "MEAN": (not_over_batch,),
    "SUM": (not_over_batch,),
    "REDUCE_MAX": (not_over_batch,),
    "REDUCE_MIN": (not_over_batch,),
    "PAD": (not_in_batch,),
}

EDGE_TPU = OperatorTable(
    id="edge-tpu",
    device="Edge TPU",
    source="coral.ai, TensorFlow models on the Edge TPU: supported operations",
    verified=False,
    rules=_RULES,
    general=(known_version, all_int8, at_most_three_dimensions),
    one_partition=True,
)
tables.register(EDGE_TPU.id)(EDGE_TPU)
