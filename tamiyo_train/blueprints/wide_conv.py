"""Wide convolution: y = x + project(relu(3x3 conv d -> 4d)), the closest a shape-preserving seed comes to widening.

New neurons see the whole neighbourhood of their slot and are added without changing the function (their outgoing
weights are zero at birth, as in Net2Wider). Parameters 36d*d + 4d for the convolution, 4d*d + d for the projection.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Domain, blueprints, zeroed
from tamiyo_train.footprint import Kind, Layer, Shape

WIDENING = 4


class WideConvSeed(nn.Module):
    """(B, d, H, W) -> (B, d, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(channels, WIDENING * channels, 3, padding=1)
        self.act = nn.ReLU()
        self.project = zeroed(nn.Conv2d(WIDENING * channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what 4d new neurons add."""
        delta: torch.Tensor = self.project(self.act(self.widen(x)))
        return x + delta


class WideConv:
    """4d new neurons a position: the dearest blueprint."""

    name = "wide-conv"
    domain = Domain.IMAGE
    rate = 0.5

    def build(self, shape: Shape) -> nn.Module:
        """A newborn seed."""
        return WideConvSeed(shape[0])

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """convolution, ReLU, projection, add."""
        channels, height, width = shape
        widen = footprint.conv(shape, WIDENING * channels, kernel=3)
        return (
            widen,
            footprint.pointwise(Kind.ACTIVATION, widen.output_elements),
            footprint.conv((WIDENING * channels, height, width), channels),
            footprint.pointwise(Kind.ELEMENTWISE, footprint.size(shape), operands=2),
        )


blueprints.register("wide-conv")(WideConv())
