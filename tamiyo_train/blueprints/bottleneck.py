"""Bottleneck adapter (Houlsby et al. 2019): y = x + up(relu(down(x))), linear maps d -> k -> d at every position.

Parameters 2dk + k + d; multiply-accumulates 2dk a position. One module, four presets: they differ in k.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, changed, mix, zeroed
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Slot


class BottleneckSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot, inner: int) -> None:
        super().__init__()
        self.down = mix(slot.domain, slot.channels, inner)
        self.act = nn.ReLU()
        self.up = zeroed(mix(slot.domain, inner, slot.writable))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction of rank k at most."""
        return changed(x, self.up(self.act(self.down(x))))


def bottleneck(name: str, summary: str, inner: Callable[[int], int], **config: float) -> Blueprint:
    """A preset; ``inner`` gives k for a slot of d writable channels."""

    def layers(slot: Slot) -> tuple[Layer, ...]:
        k = inner(slot.writable)
        return (
            footprint.mix(slot, slot.channels, k),
            footprint.activation(k * slot.positions),
            footprint.mix(slot, k, slot.writable),
            *footprint.changed(slot),
        )

    return Blueprint(
        name=name,
        summary=summary,
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: BottleneckSeed(slot, inner(slot.writable)),
        layers=layers,
        config=config,
    )


BOTTLENECK = add(bottleneck("bottleneck", "d-k-d, k = d: rank is what a narrow host is short of", lambda d: d, ratio=1))
