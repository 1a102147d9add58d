"""Mini self-attention on sequences: y = x + out(attend(query(x), key(x), value(x))), maps d -> d at every time step.

Scaled dot product (Vaswani et al. 2017) without layer norm; ``out`` is zero at birth. The key has no bias: a softmax
over keys cannot see one. Parameters 4d*d + 3d, multiply-accumulates 4d*d T + 2d T*T.

The linear variant (Shen et al. 2021) normalises queries over features and keys over time, and multiplies keys with
values first: 2d*d T in place of 2d T*T. The causal one looks at the past alone, as a language model must.

Inside, time comes before channels and the maps are fully connected: as convolutions of size 1 the same attention
becomes twice as many operators in TFLite, most of them transposes, and with one head it does not convert at all.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot

MASK = -1e9
"""Added to the scores of the future: its weight is exactly 0, and the tensor is finite, as the governor asks of all."""
DEPLOYED_MASK = -16.0
"""Added to the scores of the future when deployed: its weight is e^-16, and an int8 range can still hold the scores."""


def heads_of(channels: int, most: int) -> int:
    """Heads of attention: the largest divisor of the channels that is not above ``most``."""
    return next(heads for heads in range(min(most, channels), 0, -1) if channels % heads == 0)


class Attention(nn.Module):
    """What each of T time steps takes from S others: (B, T, d), (B, S, d) -> (B, T, d); all zero at birth.

    ``mask``: (T, S), added to the scores.
    """

    mask: torch.Tensor | None

    def __init__(self, channels: int, heads: int, *, mask: torch.Tensor | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(channels // heads)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.out = zeroed(nn.Linear(channels, channels))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, asking: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Answers for every time step of ``asking``."""
        query, key = self._split(self.query(asking) * self.scale), self._split(self.key(asked))
        scores = torch.bmm(query, key.transpose(1, 2))
        if self.mask is not None:
            scores = scores + self.mask
        taken = torch.bmm(torch.softmax(scores, -1), self._split(self.value(asked)))
        answer: torch.Tensor = self.out(self._joined(taken))
        return answer

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, d) -> (B * heads, T, d / heads)."""
        if self.heads == 1:  # regrouping by 1 confuses the tool that slims ONNX files
            return x
        batch, time, channels = x.shape
        apart = x.reshape(batch, time, self.heads, channels // self.heads).transpose(1, 2).contiguous()
        return apart.reshape(batch * self.heads, time, channels // self.heads)

    def _joined(self, x: torch.Tensor) -> torch.Tensor:
        """(B * heads, T, d / heads) -> (B, T, d)."""
        if self.heads == 1:
            return x
        products, time, width = x.shape
        together = x.reshape(products // self.heads, self.heads, time, width).transpose(1, 2).contiguous()
        return together.reshape(products // self.heads, time, self.heads * width)


class SelfAttentionSeed(nn.Module):
    """(B, d, T) -> (B, d, T)."""

    def __init__(self, slot: Slot, heads: int, *, causal: bool) -> None:
        super().__init__()
        channels, time = slot.shape
        future = torch.full((time, time), MASK).triu(1) if causal else None
        self.attention = Attention(channels, heads, mask=future)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what every time step takes from the others."""
        steps = x.transpose(1, 2).contiguous()
        taken: torch.Tensor = self.attention(steps, steps)
        return x + taken.transpose(1, 2)

    def deployed(self) -> nn.Module:
        """A copy whose mask, if it has one, is finite: an int8 range can't hold the other."""
        made = copy.deepcopy(self)
        if made.attention.mask is not None:
            made.attention.mask = made.attention.mask.clamp_min(DEPLOYED_MASK)
        return made


class LinearAttentionSeed(nn.Module):
    """(B, d, T) -> (B, d, T), at a cost linear in T; one head."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        channels, _ = slot.shape
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what every time step takes from a summary of all."""
        steps = x.transpose(1, 2).contiguous()
        keys = torch.softmax(self.key(steps).transpose(1, 2), -1)
        summary = torch.bmm(keys, self.value(steps))
        taken = torch.bmm(torch.softmax(self.query(steps), -1), summary)
        delta: torch.Tensor = self.out(taken)
        return x + delta.transpose(1, 2)


def attention_layers(
    channels: int, heads: int, time: int, others: int, *, masked: bool = False, batch: int = 1
) -> tuple[Layer, ...]:
    """Closed-form cost of `Attention` with T = ``time`` and S = ``others``, ``batch`` times over."""
    asking, asked, products = batch * time, batch * others, batch * heads
    width, weights = channels // heads, products * time * others

    return (
        footprint.linear(channels, channels, positions=asking),
        footprint.pointwise(Kind.MULTIPLY, channels * asking),
        *footprint.transposed(time, heads, batch=batch * width),
        replace(footprint.linear(channels, channels, positions=asked, bias=False), at_entry=True),
        *footprint.transposed(others, heads, batch=batch * width),
        footprint.matmul(time, width, others, batch=products),
        *((footprint.pointwise(Kind.ADD, weights),) if masked else ()),
        footprint.pointwise(Kind.SOFTMAX, weights),
        replace(footprint.linear(channels, channels, positions=asked), at_entry=True),
        *footprint.transposed(others, heads, batch=batch * width),
        footprint.matmul(time, others, width, batch=products),
        *footprint.transposed(time, heads, batch=batch * width),
        footprint.linear(channels, channels, positions=asking),
    )


def _layers(slot: Slot, heads: int, *, causal: bool) -> tuple[Layer, ...]:
    channels, time = slot.shape
    return (
        *footprint.transposed(channels, time),
        *attention_layers(channels, heads, time, time, masked=causal),
        *footprint.changed(slot),
    )


def _linear_layers(slot: Slot) -> tuple[Layer, ...]:
    channels, time = slot.shape
    linear = footprint.linear(channels, channels, positions=time)
    softmax = footprint.pointwise(Kind.SOFTMAX, slot.elements)
    return (
        *footprint.transposed(channels, time),
        footprint.linear(channels, channels, positions=time, bias=False),
        softmax,
        replace(linear, at_entry=True),
        footprint.matmul(channels, time, channels),
        replace(linear, at_entry=True),
        softmax,
        footprint.matmul(time, channels, channels),
        linear,
        *footprint.changed(slot),
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
        causal=causal,
    )


ATTENTION = add(_preset("mini-attention", "self-attention, 4 heads at most", 4))
SINGLE = add(_preset("mini-attention-single", "self-attention, 1 head", 1))
CAUSAL = add(_preset("mini-attention-causal", "self-attention to the past, 4 heads at most", 4, causal=True))
LINEAR = add(
    Blueprint(
        name="mini-attention-linear",
        summary="self-attention at a cost linear in time, 1 head",
        domains=frozenset({Domain.SEQUENCE}),
        build=LinearAttentionSeed,
        layers=_linear_layers,
        config={"heads": 1},
        obstacle=_too_narrow,
    )
)
