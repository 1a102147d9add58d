"""Depthwise-separable residual: y = x + mix(relu(3x3 depthwise(x))), the last projection zero at birth.

Parameters 9d + d for the depthwise and d*d + d for the pointwise convolution.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Domain, blueprints, zeroed
from tamiyo_train.footprint import Kind, Layer, Shape


class DepthwiseSeed(nn.Module):
    """(B, d, H, W) -> (B, d, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.act = nn.ReLU()
        self.mix = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a spatial correction."""
        delta: torch.Tensor = self.mix(self.act(self.depthwise(x)))
        return x + delta


class Depthwise:
    """3 x 3 depthwise and 1 x 1."""

    name = "depthwise"
    domain = Domain.IMAGE
    rate = 1.0

    def build(self, shape: Shape) -> nn.Module:
        """A newborn seed."""
        return DepthwiseSeed(shape[0])

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """depthwise, ReLU, pointwise, add."""
        elements = footprint.size(shape)
        return (
            footprint.conv(shape, shape[0], kernel=3, depthwise=True),
            footprint.pointwise(Kind.ACTIVATION, elements),
            footprint.conv(shape, shape[0]),
            footprint.pointwise(Kind.ELEMENTWISE, elements, operands=2),
        )


blueprints.register("depthwise")(Depthwise())
