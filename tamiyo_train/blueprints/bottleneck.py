"""Bottleneck adapter (Houlsby et al. 2019): y = x + up(relu(down(x))), linear maps d -> k -> d at every position.

Parameters 2dk + k + d; multiply-accumulates 2dk a position. One module, presets that differ in k; the residual MLP and
widening are further ones, in files of their own.
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


def bottleneck_layers(slot: Slot, inner: int) -> tuple[Layer, ...]:
    """Closed-form cost with k = ``inner``."""
    return (
        footprint.mix(slot, slot.channels, inner),
        footprint.activation(inner * slot.positions),
        footprint.mix(slot, inner, slot.writable),
        *footprint.changed(slot),
    )


EVERY_CHANNEL_AXIS = frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE})
"""Domains of tensors with one axis of channels."""


def bottleneck(
    name: str,
    summary: str,
    inner: Callable[[int], int],
    *,
    domains: frozenset[Domain] = EVERY_CHANNEL_AXIS,
    rate: float = 1.0,
    **config: float,
) -> Blueprint:
    """A preset; ``inner`` gives k for a slot of d writable channels."""

    return Blueprint(
        name=name,
        summary=summary,
        domains=domains,
        build=lambda slot: BottleneckSeed(slot, inner(slot.writable)),
        layers=lambda slot: bottleneck_layers(slot, inner(slot.writable)),
        config=config,
        rate=rate,
        causal=True,
    )


BOTTLENECK = add(bottleneck("bottleneck", "d-k-d, k = d: rank is what a narrow host is short of", lambda d: d, ratio=1))
QUARTER = add(bottleneck("bottleneck-quarter", "d-k-d, k = max(d/4, 8)", lambda d: max(d // 4, 8), ratio=0.25, least=8))
ADAPTER = add(bottleneck("adapter", "d-k-d, k = max(d/8, 8)", lambda d: max(d // 8, 8), ratio=0.125, least=8))
LOW_RANK = add(bottleneck("low-rank", "d-k-d, k = max(d/8, 4)", lambda d: max(d // 8, 4), ratio=0.125, least=4))
