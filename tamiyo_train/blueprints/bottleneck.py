"""Bottleneck adapter (Houlsby et al. 2019): y = x + up(relu(down(x))) with 1x1 convolutions d -> k -> d.

Parameters 2dk + k + d; multiply-accumulates 2dk a position.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Domain, blueprints, zeroed
from tamiyo_train.footprint import Kind, Layer, Shape


class BottleneckSeed(nn.Module):
    """(B, d, H, W) -> (B, d, H, W)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, inner, 1)
        self.act = nn.ReLU()
        self.up = zeroed(nn.Conv2d(inner, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction of rank k at most."""
        delta: torch.Tensor = self.up(self.act(self.down(x)))
        return x + delta


class Bottleneck:
    """d -> k -> d with k = d (rank is what a narrow host is short of)."""

    name = "bottleneck"
    domain = Domain.IMAGE
    rate = 1.0

    def build(self, shape: Shape) -> nn.Module:
        """A newborn seed."""
        return BottleneckSeed(shape[0], shape[0])

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """down, ReLU, up, add."""
        down = footprint.conv(shape, shape[0])
        up = footprint.conv(shape, shape[0])
        return (
            down,
            footprint.pointwise(Kind.ACTIVATION, down.output_elements),
            up,
            footprint.pointwise(Kind.ELEMENTWISE, footprint.size(shape), operands=2),
        )


blueprints.register("bottleneck")(Bottleneck())
