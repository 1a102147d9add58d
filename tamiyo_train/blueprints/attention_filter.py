"""Attention filter: picks positions that matter, says how much it makes of a sample, and corrects by that much.

    features = relu(reduce(x)) * sigmoid(attend(...))        which positions matter
    score    = sigmoid(detect(mean(features)))               how much is to be corrected, one number a sample
    y        = x + score * project(features)

``project`` is zero at birth; a score of 0 leaves the sample as it is. The score is a signal: `score(x)`. Parameters,
with k = max(d/2, 2): dk + k for ``reduce``, k + 1 each for ``attend`` and ``detect``, kd + d for ``project``.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, changed, mix, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot


class AttentionFilterSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...); a `WithScore`."""

    def __init__(self, slot: Slot, inner: int) -> None:
        super().__init__()
        self.axes = tuple(range(2, 1 + len(slot.shape)))
        self.reduce = mix(slot.domain, slot.channels, inner)
        self.act = nn.ReLU()
        self.attend = mix(slot.domain, inner, 1)
        self.detect = mix(slot.domain, inner, 1)
        self.project = zeroed(mix(slot.domain, inner, slot.writable))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction, as strong as the detector says."""
        features = self._features(x)
        return changed(x, self.project(features) * self._score(features))

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """How much of a correction each sample gets, 0..1: (B, d, ...) -> (B,)."""
        return self._score(self._features(x)).flatten()

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.act(self.reduce(x))
        return features * torch.sigmoid(self.attend(features))

    def _score(self, features: torch.Tensor) -> torch.Tensor:
        pooled = features.mean(self.axes, keepdim=True) if self.axes else features
        return torch.sigmoid(self.detect(pooled))


def _inner(slot: Slot) -> int:
    return max(slot.writable // 2, 2)


def _layers(slot: Slot) -> tuple[Layer, ...]:
    inner, positions = _inner(slot), slot.positions
    pooled = Slot(shape=(inner, *[1] * (len(slot.shape) - 1)), domain=slot.domain)
    mean = () if slot.domain is Domain.VECTOR else (footprint.mean((inner, *slot.shape[1:])),)
    return (
        footprint.mix(slot, slot.channels, inner),
        footprint.activation(inner * positions),
        footprint.mix(slot, inner, 1),
        footprint.pointwise(Kind.LOGISTIC, positions),
        footprint.pointwise(Kind.MULTIPLY, inner * positions),
        *mean,
        footprint.mix(pooled, inner, 1),
        footprint.pointwise(Kind.LOGISTIC, 1),
        footprint.mix(slot, inner, slot.writable),
        footprint.pointwise(Kind.MULTIPLY, slot.writable * positions),
        *footprint.changed(slot),
    )


ATTENTION_FILTER = add(
    Blueprint(
        name="attention-filter",
        summary="picks positions that matter, scores the sample, corrects by the score",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: AttentionFilterSeed(slot, _inner(slot)),
        layers=_layers,
    )
)
