"""Squeeze-excite (Hu et al. 2018): every channel scaled by what the whole sample says about it.

y = x * 2 sigmoid(expand(relu(reduce(mean(x))))): the factor 2 makes the newborn gate exactly 1. A vector has one
position, so its mean is itself. Parameters 2d*d/r + d/r + d with r = 2.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, mix, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot

REDUCTION = 2
"""These hosts have 4 to 16 channels; 16, as in the paper, would leave nothing."""


class SqueezeExciteSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot, inner: int) -> None:
        super().__init__()
        self.axes = tuple(range(2, 1 + len(slot.shape)))
        self.width = slot.writable
        self.reduce = mix(slot.domain, slot.channels, inner)
        self.act = nn.ReLU()
        self.expand = zeroed(mix(slot.domain, inner, slot.writable))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, scaled per channel by a factor in (0, 2)."""
        squeezed = x.mean(self.axes, keepdim=True) if self.axes else x
        gate = torch.sigmoid(self.expand(self.act(self.reduce(squeezed)))) * 2.0
        if self.width == x.shape[1]:
            return x * gate
        return torch.cat([x[:, : self.width] * gate, x[:, self.width :]], 1)


def _inner(slot: Slot) -> int:
    return max(2, slot.writable // REDUCTION)


def _layers(slot: Slot) -> tuple[Layer, ...]:
    inner, pooled = _inner(slot), Slot(shape=(slot.channels, *[1] * (len(slot.shape) - 1)), domain=slot.domain)
    mean = () if slot.domain is Domain.VECTOR else (footprint.mean(slot.shape),)
    return (
        *mean,
        footprint.mix(pooled, slot.channels, inner),
        footprint.activation(inner),
        footprint.mix(pooled, inner, slot.writable),
        footprint.pointwise(Kind.LOGISTIC, slot.writable),
        footprint.pointwise(Kind.MULTIPLY, slot.writable),
        *footprint.changed(slot),
    )


SQUEEZE_EXCITE = add(
    Blueprint(
        name="squeeze-excite",
        summary="every channel scaled by what the whole sample says about it",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: SqueezeExciteSeed(slot, _inner(slot)),
        layers=_layers,
        config={"reduction": REDUCTION},
    )
)
