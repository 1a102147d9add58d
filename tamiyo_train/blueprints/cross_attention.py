"""Cross-attention on two modalities side by side: y = x + out(attend(query(x), keys and values of the other one)).

One set of maps d -> d serves both directions; ``out`` is zero at birth. Beside the other's time steps every query may
attend to nothing: a key of score 0 and value 0. Without it an embedding, which is one time step, would always take
all of the other. Parameters 4d*d + 4d; multiply-accumulates 2T (4d*d + 2dT).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.attention import heads_of
from tamiyo_train.blueprints.base import Blueprint, add, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot


class CrossAttentionSeed(nn.Module):
    """(B, 2, d, T) -> (B, 2, d, T)."""

    nothing: torch.Tensor

    def __init__(self, slot: Slot, heads: int) -> None:
        super().__init__()
        channels = slot.channels
        self.heads = heads
        self.scale = 1 / math.sqrt(channels // heads)
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1)
        self.value = nn.Conv1d(channels, channels, 1)
        self.out = zeroed(nn.Conv1d(channels, channels, 1))
        self.register_buffer("nothing", torch.zeros(1, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what each modality takes from the other."""
        time = x.shape[3]
        asking = x.flatten(0, 1)
        other = torch.cat([x[:, 1:], x[:, :1]], 1).flatten(0, 1)
        query = self._split(self.query(asking) * self.scale)
        key, value = self._split(self.key(other)), self._split(self.value(other))
        scores = torch.bmm(query.transpose(1, 2), key)
        scores = torch.cat([scores, self.nothing.expand(scores.shape[0], time, 1)], 2)
        weights = torch.softmax(scores, -1)[:, :, :time]
        taken = torch.bmm(value, weights.transpose(1, 2))
        delta: torch.Tensor = self.out(taken.reshape(asking.shape))
        return x + delta.reshape(x.shape)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(2B, d, T) -> (2B * heads, d / heads, T)."""
        return x.reshape(-1, x.shape[1] // self.heads, x.shape[2])


def _layers(slot: Slot, heads: int) -> tuple[Layer, ...]:
    _, channels, time = slot.shape
    width, products = channels // heads, 2 * heads
    projection = footprint.conv((channels, 2 * time), channels)
    weights = products * time * (time + 1)
    return (
        footprint.pointwise(Kind.CONCAT, slot.elements),
        projection,
        footprint.pointwise(Kind.ELEMENTWISE, slot.elements),
        projection,
        projection,
        footprint.matmul(time, width, time, batch=products),
        footprint.pointwise(Kind.CONCAT, weights),
        footprint.pointwise(Kind.SOFTMAX, weights),
        footprint.matmul(width, time, time, batch=products),
        projection,
        *footprint.changed(slot),
    )


def _preset(name: str, summary: str, most: int) -> Blueprint:
    return Blueprint(
        name=name,
        summary=summary,
        domains=frozenset({Domain.JOINT}),
        build=lambda slot: CrossAttentionSeed(slot, heads_of(slot.channels, most)),
        layers=lambda slot: _layers(slot, heads_of(slot.channels, most)),
        config={"heads": most},
    )


CROSS_ATTENTION = add(_preset("cross-attention", "each modality attends to the other, 4 heads at most", 4))
SINGLE = add(_preset("cross-attention-single", "each modality attends to the other, 1 head", 1))
