"""Gated linear unit (Dauphin et al. 2017) as a residual: y = x + value(x) * sigmoid(gate(x)), linear maps d -> d each.

The value is zero at birth. The two maps are one map d -> 2d in the paper; apart they need no split when they are
exported. Parameters 2d*d + 2d.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, changed, mix, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot


class GluSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.value = zeroed(mix(slot.domain, slot.channels, slot.writable))
        self.gate = mix(slot.domain, slot.channels, slot.writable)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a linear map of it that a gate lets through."""
        return changed(x, self.value(x) * torch.sigmoid(self.gate(x)))


def _layers(slot: Slot) -> tuple[Layer, ...]:
    written = slot.writable * slot.positions
    return (
        footprint.mix(slot, slot.channels, slot.writable),
        replace(footprint.mix(slot, slot.channels, slot.writable), at_entry=True),
        footprint.pointwise(Kind.LOGISTIC, written),
        footprint.pointwise(Kind.MULTIPLY, written, operands=2),
        *footprint.changed(slot),
    )


GLU = add(
    Blueprint(
        name="glu",
        summary="a linear map of the input, let through by a gate",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=GluSeed,
        layers=_layers,
        causal=True,
    )
)
