"""Latent align: a residual MLP on the joint space of two modalities, y = x + up(relu(down(x))), 2d -> h -> 2d.

At every time step both modalities are one vector of 2d features, so each is corrected by what the other says. With
h = d: parameters 4d*d + 3d.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tamiyo_train.blueprints.base import Blueprint, add
from tamiyo_train.blueprints.bottleneck import BottleneckSeed, bottleneck_layers
from tamiyo_train.slots import Domain, Slot, sequence


class LatentAlignSeed(nn.Module):
    """(B, 2, d, T) -> (B, 2, d, T)."""

    def __init__(self, slot: Slot, inner: int) -> None:
        super().__init__()
        self.space = BottleneckSeed(_space(slot), inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction of both modalities by both."""
        y: torch.Tensor = self.space(x.flatten(1, 2))
        return y.reshape(x.shape)


def _space(slot: Slot) -> Slot:
    return sequence(2 * slot.channels, slot.shape[2])


def _preset(name: str, summary: str, inner: Callable[[int], int], **config: float) -> Blueprint:
    return Blueprint(
        name=name,
        summary=summary,
        domains=frozenset({Domain.JOINT}),
        build=lambda slot: LatentAlignSeed(slot, inner(slot.channels)),
        layers=lambda slot: bottleneck_layers(_space(slot), inner(slot.channels)),
        config=config,
    )


LATENT_ALIGN = add(_preset("latent-align", "2d-h-2d on both modalities, h = d", lambda d: d, ratio=1))
HALF = add(_preset("latent-align-half", "2d-h-2d on both modalities, h = d/2", lambda d: max(d // 2, 2), ratio=0.5))
