"""Closed-form cost of layers: what a piece of network takes, counted without building it.

A `Layer` is one operator as a device runs it (batch norm folded into its convolution). A piece's cost is the sum over
its layers; the same layers, handed to a device profile, give latency and energy. Tests hold these formulas against
what torch counts on the built modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tamiyo_train.slots import Domain, Shape, Slot


class Kind(StrEnum):
    """What a layer does; device profiles know what each kind costs."""

    CONV = "conv2d"
    DEPTHWISE = "depthwise_conv2d"
    FULLY_CONNECTED = "fully_connected"
    MEAN = "mean"
    ADD = "add"
    MULTIPLY = "multiply"
    ACTIVATION = "activation"
    LOGISTIC = "logistic"
    RESHAPE = "reshape"
    CONCAT = "concat"
    PAD = "pad"
    SOFTMAX = "softmax"
    MATMUL = "batch_matmul"  # of two activations, as in attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator on one sample: parameters, multiply-accumulates, elements read and written.

    ``gemm``: the matrix product (M, K, N) that it amounts to, ``groups`` times over; ``window`` counts the positions of
    a convolution's window. See `device_profiles.ops.Op`. ``at_entry``: like the first product of its piece, it reads
    what enters the piece, see `charges`.
    """

    kind: Kind
    params: int
    macs: int
    input_elements: int
    output_elements: int
    gemm: tuple[int, int, int] | None = None
    groups: int = 1
    window: int = 1
    at_entry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Cost of a piece for one sample. ``activation_bytes`` counts the output of every layer."""

    params: int
    macs: int
    activation_bytes: int

    @staticmethod
    def of(layers: Iterable[Layer], *, bytes_per_element: int = 4) -> Footprint:
        """Sum over layers; 4 bytes an element in float32, 1 in int8."""
        layers = tuple(layers)
        return Footprint(
            params=sum(layer.params for layer in layers),
            macs=sum(layer.macs for layer in layers),
            activation_bytes=bytes_per_element * sum(layer.output_elements for layer in layers),
        )


def conv(
    shape: Shape, out_channels: int, *, kernel: int = 1, stride: int = 1, depthwise: bool = False, bias: bool = True
) -> Layer:
    """A convolution over (channels, time) or (channels, height, width), with padding ``kernel // 2``.

    k^n * (C_in / groups) * C_out + C_out parameters, n being the number of axes it slides along; without bias C_out
    fewer.
    """
    channels, *axes = shape
    window = int(kernel ** len(axes))
    per_output = window * (1 if depthwise else channels)
    positions = math.prod(-(-axis // stride) for axis in axes)
    outputs = out_channels * positions
    return Layer(
        kind=Kind.DEPTHWISE if depthwise else Kind.CONV,
        params=per_output * out_channels + out_channels * bias,
        macs=per_output * outputs,
        input_elements=math.prod(shape),
        output_elements=outputs,
        gemm=(positions, per_output, 1 if depthwise else out_channels),
        groups=out_channels if depthwise else 1,
        window=window,
    )


def linear(inputs: int, outputs: int, *, positions: int = 1, bias: bool = True) -> Layer:
    """A fully connected layer, the same at every position: in*out + out parameters, out fewer without bias."""
    return Layer(
        kind=Kind.FULLY_CONNECTED,
        params=inputs * outputs + outputs * bias,
        macs=inputs * outputs * positions,
        input_elements=inputs * positions,
        output_elements=outputs * positions,
        gemm=(positions, inputs, outputs),
    )


def mix(slot: Slot, inputs: int, outputs: int) -> Layer:
    """A linear map over channels at every position of a slot; see `blueprints.base.mix`."""
    if slot.domain is Domain.VECTOR:
        return linear(inputs, outputs)
    return conv((inputs, *slot.shape[1:]), outputs)


def matmul(rows: int, inner: int, columns: int, *, batch: int = 1) -> Layer:
    """``batch`` products of a (rows, inner) and an (inner, columns) matrix, both of them activations."""
    return Layer(
        kind=Kind.MATMUL,
        params=0,
        macs=batch * rows * inner * columns,
        input_elements=batch * inner * (rows + columns),
        output_elements=batch * rows * columns,
        gemm=(rows, inner, columns),
        groups=batch,
    )


def pointwise(kind: Kind, elements: int, *, operands: int = 1) -> Layer:
    """An operator without parameters that writes as many elements as each operand has."""
    return Layer(kind=kind, params=0, macs=0, input_elements=operands * elements, output_elements=elements)


def transposed(rows: int, columns: int, *, batch: int = 1) -> tuple[Layer, ...]:
    """``batch`` matrices written in the other order; nothing to do where one side is 1."""
    return () if min(rows, columns) == 1 else (pointwise(Kind.RESHAPE, batch * rows * columns),)


def activation(elements: int) -> Layer:
    """A ReLU."""
    return pointwise(Kind.ACTIVATION, elements)


def changed(slot: Slot) -> tuple[Layer, ...]:
    """The residual add of a seed, and the joining with the carried part when there is one."""
    add = pointwise(Kind.ADD, slot.writable * slot.positions, operands=2)
    if slot.writable == slot.channels:
        return (add,)
    return add, pointwise(Kind.RESHAPE, slot.elements)


def mean(shape: Shape) -> Layer:
    """The mean over all axes but the channels', kept as (C, 1, ...)."""
    elements = math.prod(shape)
    return Layer(kind=Kind.MEAN, params=0, macs=0, input_elements=elements, output_elements=shape[0])
