"""Squeeze-excite (Hu et al. 2018): every channel scaled by what the whole image says about it.

y = x * 2 sigmoid(expand(relu(reduce(mean(x))))): the factor 2 makes the newborn gate exactly 1.
Parameters 2d*d/r + d/r + d with r = 2.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Domain, blueprints, zeroed
from tamiyo_train.footprint import Kind, Layer, Shape


class SqueezeExciteSeed(nn.Module):
    """(B, d, H, W) -> (B, d, H, W)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.act = nn.ReLU()
        self.expand = zeroed(nn.Conv2d(inner, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, scaled per channel by a factor in (0, 2)."""
        squeezed = x.mean((2, 3), keepdim=True)
        gate = torch.sigmoid(self.expand(self.act(self.reduce(squeezed)))) * 2.0
        return x * gate


def _inner(channels: int) -> int:
    return max(2, channels // 2)


class SqueezeExcite:
    """Reduction by 2: these hosts have 4 to 16 channels, 16 would leave nothing."""

    name = "squeeze-excite"
    domain = Domain.IMAGE
    rate = 1.0

    def build(self, shape: Shape) -> nn.Module:
        """A newborn seed."""
        return SqueezeExciteSeed(shape[0], _inner(shape[0]))

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """mean, reduce, ReLU, expand, logistic, times 2, scale."""
        channels = shape[0]
        inner = _inner(channels)
        return (
            footprint.mean(shape),
            footprint.conv((channels, 1, 1), inner),
            footprint.pointwise(Kind.ACTIVATION, inner),
            footprint.conv((inner, 1, 1), channels),
            footprint.pointwise(Kind.LOGISTIC, channels),
            footprint.pointwise(Kind.ELEMENTWISE, channels),
            footprint.pointwise(Kind.ELEMENTWISE, footprint.size(shape), operands=2),
        )


blueprints.register("squeeze-excite")(SqueezeExcite())
