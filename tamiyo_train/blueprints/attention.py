"""Mini self-attention on sequences: y = x + out(attend(query(x), key(x), value(x))), maps d -> d at every time step.

Scaled dot product (Vaswani et al. 2017) without layer norm; ``out`` is zero at birth. The key has no bias: a softmax
over keys cannot see one. Parameters 4d*d + 3d, multiply-accumulates 4d*d T + 2d T*T.

The linear variant (Shen et al. 2021) normalises queries over features and keys over time, and multiplies keys with
values first: 2d*d T / heads in place of 2d T*T. The causal one looks at the past alone, as a language model must.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot

DEPLOYED_MASK = -16.0
"""Added to the scores of the future when deployed: its weight is e^-16, and an int8 range can still hold the scores."""


def heads_of(channels: int, most: int) -> int:
    """Heads of attention: the largest divisor of the channels that is not above ``most``."""
    return next(heads for heads in range(min(most, channels), 0, -1) if channels % heads == 0)


class SelfAttentionSeed(nn.Module):
    """(B, d, T) -> (B, d, T)."""

    mask: torch.Tensor | None

    def __init__(self, slot: Slot, heads: int, *, causal: bool) -> None:
        super().__init__()
        channels, time = slot.shape
        self.heads = heads
        self.scale = 1 / math.sqrt(channels // heads)
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1, bias=False)
        self.value = nn.Conv1d(channels, channels, 1)
        self.out = zeroed(nn.Conv1d(channels, channels, 1))
        future = torch.full((time, time), -math.inf).triu(1) if causal else None
        self.register_buffer("mask", future, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what every time step takes from the others."""
        query, key, value = (self._split(part) for part in (self.query(x) * self.scale, self.key(x), self.value(x)))
        scores = torch.bmm(query.transpose(1, 2), key)
        if self.mask is not None:
            scores = scores + self.mask
        taken = torch.bmm(value, torch.softmax(scores, -1).transpose(1, 2))
        delta: torch.Tensor = self.out(taken.reshape(x.shape))
        return x + delta

    def deployed(self) -> nn.Module:
        """A copy whose mask, if it has one, is finite: an int8 range can't hold the other."""
        made = copy.deepcopy(self)
        if made.mask is not None:
            made.mask = made.mask.clamp_min(DEPLOYED_MASK)
        return made

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, d, T) -> (B * heads, d / heads, T)."""
        return x.reshape(-1, x.shape[1] // self.heads, x.shape[2])


class LinearAttentionSeed(nn.Module):
    """(B, d, T) -> (B, d, T), at a cost linear in T."""

    def __init__(self, slot: Slot, heads: int) -> None:
        super().__init__()
        channels, _ = slot.shape
        self.heads = heads
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1, bias=False)
        self.value = nn.Conv1d(channels, channels, 1)
        self.out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what every time step takes from a summary of all."""
        query, key, value = (self._split(part) for part in (self.query(x), self.key(x), self.value(x)))
        summary = torch.bmm(value, torch.softmax(key, 2).transpose(1, 2))
        taken = torch.bmm(summary, torch.softmax(query, 1))
        delta: torch.Tensor = self.out(taken.reshape(x.shape))
        return x + delta

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, d, T) -> (B * heads, d / heads, T)."""
        return x.reshape(-1, x.shape[1] // self.heads, x.shape[2])


def _projections(slot: Slot) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Query, key and value; and what comes after the attention itself."""
    with_bias = footprint.conv(slot.shape, slot.channels)
    key = footprint.conv(slot.shape, slot.channels, bias=False)
    return (with_bias, key, with_bias), (with_bias, *footprint.changed(slot))


def _layers(slot: Slot, heads: int, *, causal: bool) -> tuple[Layer, ...]:
    channels, time = slot.shape
    (query, *others), after = _projections(slot)
    weights = heads * time * time
    return (
        query,
        footprint.pointwise(Kind.ELEMENTWISE, slot.elements),
        *others,
        footprint.matmul(time, channels // heads, time, batch=heads),
        *((footprint.pointwise(Kind.ELEMENTWISE, weights),) if causal else ()),
        footprint.pointwise(Kind.SOFTMAX, weights),
        footprint.matmul(channels // heads, time, time, batch=heads),
        *after,
    )


def _linear_layers(slot: Slot, heads: int) -> tuple[Layer, ...]:
    channels, time = slot.shape
    before, after = _projections(slot)
    width = channels // heads
    softmax = footprint.pointwise(Kind.SOFTMAX, slot.elements)
    return (
        *before,
        softmax,
        footprint.matmul(width, time, width, batch=heads),
        softmax,
        footprint.matmul(width, width, time, batch=heads),
        *after,
    )


def _alone(slot: Slot) -> str | None:
    return "needs 2 time steps or more: there is nothing else to attend to" if slot.positions < 2 else None


def _too_narrow(slot: Slot) -> str | None:
    return _alone(slot) or ("needs 2 channels or more" if slot.channels < 2 else None)


def _preset(name: str, summary: str, most: int, *, causal: bool = False) -> Blueprint:
    return Blueprint(
        name=name,
        summary=summary,
        domains=frozenset({Domain.SEQUENCE}),
        build=lambda slot: SelfAttentionSeed(slot, heads_of(slot.channels, most), causal=causal),
        layers=lambda slot: _layers(slot, heads_of(slot.channels, most), causal=causal),
        config={"heads": most},
        obstacle=_alone,
    )


ATTENTION = add(_preset("mini-attention", "self-attention, 4 heads at most", 4))
SINGLE = add(_preset("mini-attention-single", "self-attention, 1 head", 1))
CAUSAL = add(_preset("mini-attention-causal", "self-attention to the past, 4 heads at most", 4, causal=True))
LINEAR = add(
    Blueprint(
        name="mini-attention-linear",
        summary="self-attention at a cost linear in time, 1 head",
        domains=frozenset({Domain.SEQUENCE}),
        build=lambda slot: LinearAttentionSeed(slot, 1),
        layers=lambda slot: _linear_layers(slot, 1),
        config={"heads": 1},
        obstacle=_too_narrow,
    )
)
