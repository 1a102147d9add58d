"""The classes of operators that the cost model tells apart, and one operator as it sees it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum

from tamiyo_runtime.contracts.document import require


class OpKind(StrEnum):
    """Classes of operators. The first three are charged by their MACs, the others by the bytes they read and write."""

    CONV2D = "conv2d"
    DEPTHWISE_CONV2D = "depthwise_conv2d"
    FULLY_CONNECTED = "fully_connected"
    POOL = "pool"  # also mean and sum over axes
    ELEMENTWISE = "elementwise"  # add, multiply
    ACTIVATION = "activation"  # one that is not fused into the operator before it
    DATA_MOVEMENT = "data_movement"  # reshape, pad, transpose, concatenate, quantise
    SOFTMAX = "softmax"  # also logistic and tanh: operators that evaluate an exponential


MAC_KINDS = frozenset({OpKind.CONV2D, OpKind.DEPTHWISE_CONV2D, OpKind.FULLY_CONNECTED})


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a graph: multiply-accumulates, and bytes of weights, inputs and outputs as stored.

    ``on_accelerator`` matters on profiles that have one: False places the operator on the host's CPU. ``params`` counts
    the weights; None counts them from the bytes, which takes an int32 bias of an int8 graph for four parameters.
    ``code`` is the operator's name in its graph, for reports. ``gemm`` is the matrix product (M, K, N) it amounts to,
    groups times over, for arrays whose utilisation depends on it: M output positions, K products a sum, N channels.
    ``window`` counts the positions of a convolution's window: K is that many times the channels of one position.
    ``live_bytes`` are all activations that exist while it runs; None stands for its own inputs and outputs.
    """

    kind: OpKind
    macs: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    on_accelerator: bool = True
    params: int | None = None
    code: str = ""
    gemm: tuple[int, int, int] | None = None
    groups: int = 1
    live_bytes: int | None = None
    window: int = 1

    def __post_init__(self) -> None:
        least = min(self.macs, self.weight_bytes, self.input_bytes, self.output_bytes, self.params or 0)
        require(least >= 0, "op", f"{self.kind}: sizes must not be negative")


def gemm_of(op: Op) -> tuple[float, float, float, int]:
    """The matrix product (M, K, N) of one group of the operator, and the number of groups.

    Where nobody said which it is, one of the right size is made up from what is known: a weight is used once an output
    position, so MACs over weights are the positions. It is exact for int8 layers without a bias and close for others.
    """
    if op.gemm is not None:
        return *op.gemm, op.groups
    weights = op.weight_bytes if op.params is None else op.params
    positions, depth, channels = _made_up(op.macs, weights, op.output_bytes)
    return (positions, depth, 1, channels) if op.kind is OpKind.DEPTHWISE_CONV2D else (positions, depth, channels, 1)


@functools.lru_cache(maxsize=4096)
def _made_up(macs: int, weights: int, output_bytes: int) -> tuple[int, float, int]:
    positions = max(1, round(macs / max(1, weights)))
    channels = max(1, round(output_bytes / positions))
    return positions, macs / (positions * channels), channels
