"""Input convolution: looks at the network's input again, with the structure that flattening took away.

For vector slots whose host carries the input along (`Slot.carried`): the carried values take their shape (C, T) or
(C, H, W) back, pass convolutions of stride 2 with ReLU, and a linear map, zero at birth, adds what they found to the
writable features:

    y = x + linear(relu(conv(... carried ...)))

Size 5 along time, 3 over height and width. Parameters: k^n C_in C_out + C_out a convolution; p C d + d for the linear
map, p being the positions that are left. Along time the convolutions are two-dimensional with width 1.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, changed, zeroed
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Shape, Slot

STRIDE = 2


class InputConvSeed(nn.Module):
    """(B, d + carried) -> (B, d + carried)."""

    def __init__(self, slot: Slot, widths: tuple[int, ...]) -> None:
        super().__init__()
        shape = _carried(slot)
        self.writable = slot.writable
        self.shape = shape if len(shape) == 3 else (*shape, 1)
        size, flat = _kernel(shape), len(shape) == 2
        kernel, stride = ((size, 1), (STRIDE, 1)) if flat else ((size, size), (STRIDE, STRIDE))
        layers: list[nn.Module] = []
        channels = shape[0]
        for width in widths:
            padding = (kernel[0] // 2, kernel[1] // 2)
            layers += [nn.Conv2d(channels, width, kernel, stride=stride, padding=padding), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.linear = zeroed(nn.Linear(math.prod(_shapes(slot, widths)[-1]), slot.writable))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what the convolutions found in its carried part."""
        carried = x[:, self.writable :].reshape(-1, *self.shape)
        return changed(x, self.linear(self.features(carried).flatten(1)))


def _carried(slot: Slot) -> Shape:
    assert slot.carried is not None, "misfit() keeps slots without a carried input away"
    return slot.carried


def _kernel(shape: Shape) -> int:
    return 5 if len(shape) == 2 else 3


def _shapes(slot: Slot, widths: tuple[int, ...]) -> list[Shape]:
    """Shape of what enters each convolution, and of what leaves the last."""
    shapes = [_carried(slot)]
    for width in widths:
        shapes.append((width, *(-(-axis // STRIDE) for axis in shapes[-1][1:])))
    return shapes


def _layers(slot: Slot, widths: tuple[int, ...]) -> tuple[Layer, ...]:
    shapes = _shapes(slot, widths)
    found: list[Layer] = []
    for shape, width in zip(shapes, widths, strict=False):
        conv = footprint.conv(shape, width, kernel=_kernel(shapes[0]), stride=STRIDE)
        found += [conv, footprint.activation(conv.output_elements)]
    return (*found, footprint.linear(math.prod(shapes[-1]), slot.writable), *footprint.changed(slot))


def _obstacle(slot: Slot) -> str | None:
    if slot.carried is None:
        return "reads the network's input, and this host carries none to the slot"
    if len(slot.carried) not in {2, 3}:
        return f"slides along time, or height and width; the carried input has the shape {list(slot.carried)}"
    return None


def _preset(name: str, summary: str, *widths: int) -> Blueprint:
    return Blueprint(
        name=name,
        summary=summary,
        domains=frozenset({Domain.VECTOR}),
        build=lambda slot: InputConvSeed(slot, widths),
        layers=lambda slot: _layers(slot, widths),
        config={"layers": len(widths), "channels": widths[-1], "stride": STRIDE},
        obstacle=_obstacle,
    )


INPUT_CONV = add(_preset("input-conv", "a convolution over the carried input, 8 channels", 8))
INPUT_CONV_DEEP = add(_preset("input-conv-deep", "two convolutions over the carried input, 8 and 16 channels", 8, 16))
