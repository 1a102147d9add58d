"""What the kernels of a CPU do beside the multiplications of a layer: optional figures that make its price exact.

One time a MAC would be right if kernels took any shape equally well. They do not, and on small layers that is most of
their time:

* vectors: products are summed ``depth`` channels at a time and ``width`` output channels side by side, and both counts
  are rounded up. A first layer with one input channel costs as much as one with ``depth`` channels.
* windows: each position of a window is looked up and gathered, at every output position.
* outputs: each is scaled, clamped and stored.
* operators of one class do not cost the same by the byte: an average is dearer than a maximum, and an interpreter
  without a fast kernel for one operator takes a hundred times as long for it.

    t = t_operator + padded MACs * t_kind + windows * t_window + outputs * t_output      with MACs
    t = t_operator + bytes * t_code                                                     without

Profiles that say none of this are priced by the time a MAC alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.ops import MAC_KINDS, Op, OpKind, gemm_of

CODES = (
    *("ADD", "SUB", "MUL", "RELU", "RELU6", "HARD_SWISH", "SOFTMAX", "LOGISTIC", "TANH"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "PAD", "CONCATENATION", "TRANSPOSE"),
)
"""Operators without MACs that may have a rate of their own."""
STORES = {
    OpKind.CONV2D: "store_conv",
    OpKind.DEPTHWISE_CONV2D: "store_depthwise",
    OpKind.FULLY_CONNECTED: "store_dense",
}
"""Keys of the time a byte of output, by kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Vector sizes, and times in us: ``window_us`` for a position of a window at an output position, ``output_us`` for
    a byte of output of a kind, ``code_us`` for a byte read or written by an operator.
    """

    depth: int = 1
    width: int = 1
    window_us: float = 0.0
    output_us: Mapping[OpKind, float]
    code_us: Mapping[str, float]

    def work_us(self, op: Op, by_kind: Mapping[OpKind, float]) -> float:
        """Time of an operator's work, without the time that every operator takes."""
        kind = op.kind
        if kind not in MAC_KINDS:
            return (op.input_bytes + op.output_bytes) * self.code_us.get(op.code, by_kind[kind])
        macs, windows = padded(op, self.depth, self.width)
        return macs * by_kind[kind] + windows * self.window_us + op.output_bytes * self.output_us.get(kind, 0.0)


def padded(op: Op, depth: int, width: int) -> tuple[float, float]:
    """MACs with channels rounded up to the vectors, and the window positions gathered: those of windows above 1 x 1.

    A depthwise convolution computes all its channels side by side, and has its lookups in its time a MAC.
    """
    m, k, n, groups = gemm_of(op)
    if op.kind is OpKind.DEPTHWISE_CONV2D:
        return m * k * (-(-(n * groups) // width) * width), 0.0
    channels = -(-(k / op.window) // depth) * depth
    windows = m * op.window * groups if op.window > 1 else 0.0
    return groups * m * op.window * channels * (-(-n // width) * width), windows
