"""Depthwise-separable residual: y = x + mix(relu(depthwise(x))), the last projection zero at birth.

Size 3 along time or over height and width. Parameters 3d + d or 9d + d, and d*d + d for the projection.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, convolution, mix, zeroed
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Slot


class DepthwiseSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.depthwise = convolution(slot.domain, slot.channels, slot.channels, depthwise=True)
        self.act = nn.ReLU()
        self.mix = zeroed(mix(slot.domain, slot.channels, slot.channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction from its neighbourhood."""
        delta: torch.Tensor = self.mix(self.act(self.depthwise(x)))
        return x + delta


def _layers(slot: Slot) -> tuple[Layer, ...]:
    return (
        footprint.conv(slot.shape, slot.channels, kernel=3, depthwise=True),
        footprint.activation(slot.elements),
        footprint.mix(slot, slot.channels, slot.channels),
        *footprint.changed(slot),
    )


DEPTHWISE = add(
    Blueprint(
        name="depthwise",
        summary="a depthwise convolution of size 3, then a projection",
        domains=frozenset({Domain.SEQUENCE, Domain.IMAGE}),
        build=DepthwiseSeed,
        layers=_layers,
        config={"kernel": 3},
    )
)
