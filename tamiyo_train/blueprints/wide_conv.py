"""Wide convolution: y = x + project(relu(conv d -> 4d, size 3)), the closest a shape-preserving seed comes to widening.

New neurons see the whole neighbourhood of their slot and are added without changing the function (their outgoing
weights are zero at birth, as in Net2Wider). Parameters 12d*d + 4d or 36d*d + 4d for the convolution along time or over
height and width, 4d*d + d for the projection.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, convolution, mix, zeroed
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Slot

WIDENING = 4


class WideConvSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.widen = convolution(slot.domain, slot.channels, WIDENING * slot.channels)
        self.act = nn.ReLU()
        self.project = zeroed(mix(slot.domain, WIDENING * slot.channels, slot.channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what 4d new neurons add."""
        delta: torch.Tensor = self.project(self.act(self.widen(x)))
        return x + delta


def _layers(slot: Slot) -> tuple[Layer, ...]:
    wide = WIDENING * slot.channels
    return (
        footprint.conv(slot.shape, wide, kernel=3),
        footprint.activation(wide * slot.positions),
        footprint.mix(slot, wide, slot.channels),
        *footprint.changed(slot),
    )


WIDE_CONV = add(
    Blueprint(
        name="wide-conv",
        summary="4d new neurons a position that see their neighbourhood",
        domains=frozenset({Domain.SEQUENCE, Domain.IMAGE}),
        build=WideConvSeed,
        layers=_layers,
        config={"widening": WIDENING, "kernel": 3},
        rate=0.5,
    )
)
