"""Sliding convolution: y = x + conv(x), a depthwise convolution along time that sees the past alone.

Every channel gets a filter of k taps, all zero at birth, over the present and the k - 1 steps before it: what a stream
has when it is processed as it comes. Parameters kd + d; multiply-accumulates kd a time step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, zeroed
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot


class SlidingConvSeed(nn.Module):
    """(B, d, T) -> (B, d, T)."""

    def __init__(self, slot: Slot, kernel: int) -> None:
        super().__init__()
        self.past = kernel - 1
        self.conv = zeroed(nn.Conv1d(slot.channels, slot.channels, kernel, groups=slot.channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a filter of each channel's past; before the first step lie zeros."""
        delta: torch.Tensor = self.conv(F.pad(x, (self.past, 0)))
        return x + delta


def _layers(slot: Slot, kernel: int) -> tuple[Layer, ...]:
    channels, time = slot.shape
    return (
        footprint.pointwise(Kind.PAD, channels * (time + kernel - 1)),
        footprint.conv(slot.shape, channels, kernel=kernel, depthwise=True),
        *footprint.changed(slot),
    )


def _preset(name: str, kernel: int) -> Blueprint:
    return Blueprint(
        name=name,
        summary=f"a causal filter of {kernel} taps on every channel",
        domains=frozenset({Domain.SEQUENCE}),
        build=lambda slot: SlidingConvSeed(slot, kernel),
        layers=lambda slot: _layers(slot, kernel),
        config={"kernel": kernel},
        causal=True,
    )


SLIDING = add(_preset("sliding-conv", 7))
SLIDING_LONG = add(_preset("sliding-conv-long", 15))
