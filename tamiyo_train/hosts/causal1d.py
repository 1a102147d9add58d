"""A small causal transformer for sequences with an answer at every step: no step sees a later one.

    convolution over 3 steps -> [slot 0] -> attention to the past -> [slot 1] -> feed-forward -> [slot 2]
                             -> attention to the past -> [slot 3] -> linear at every step

A part is x + part(x). There are no norms: a batch norm's statistics in training are of all steps, the later ones too.
Its slots are causal, so seeds that look ahead are refused.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.attention import CAUSAL
from tamiyo_train.footprint import Kind
from tamiyo_train.hosts.attention1d import FEED_FACTOR, Attention, feed_layers
from tamiyo_train.hosts.base import Host, check_samples_fit, hosts
from tamiyo_train.hosts.piece import Piece
from tamiyo_train.slots import Domain, sequence

STEPS = 3


class Tokens(Piece):
    """A convolution over each step and the two before it, plus a vector a position: (B, C_in, T) -> (B, C, T)."""

    def __init__(self, in_channels: int, channels: int, steps: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_channels, channels, STEPS)
        self.positions = nn.Parameter(0.1 * torch.randn(1, channels, steps))

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens that know where they are; before the first step lie zeros."""
        out: torch.Tensor = self.embed(F.pad(x, (STEPS - 1, 0))) + self.positions
        return out


class Feed(Piece):
    """x + down(relu(up(x))): (B, C, T) -> (B, C, T), every step by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.Conv1d(channels, FEED_FACTOR * channels, 1)
        self.act = nn.ReLU()
        self.down = nn.Conv1d(FEED_FACTOR * channels, channels, 1)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens plus a function of themselves."""
        out: torch.Tensor = x + self.down(self.act(self.up(x)))
        return out


class Answers(Piece):
    """A linear map of each step: (B, C, T) -> (B, classes, T)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, classes, 1)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Logits at every step."""
        out: torch.Tensor = self.linear(x)
        return out


@hosts.register("causal1d")
def causal1d(*, shape: tuple[int, int], classes: int, width: int = 8) -> Host:
    """Build the host for samples of ``shape`` (channels, steps); weights come from torch's generator."""
    check_samples_fit("causal1d", Domain.SEQUENCE, shape)
    tokens = sequence(width, shape[1], causal=True)
    inner, elements = (width, shape[1]), width * shape[1]
    embedding = (
        footprint.pointwise(Kind.PAD, shape[0] * (shape[1] + STEPS - 1)),
        footprint.conv(shape, width, kernel=STEPS),
        replace(footprint.pointwise(Kind.ADD, elements, operands=2), params=elements),
    )
    return Host(
        name=f"causal1d-{width}",
        trunk=nn.ModuleList(
            [
                Tokens(shape[0], width, shape[1]),
                Attention(tokens, CAUSAL),
                Feed(width),
                Attention(tokens, CAUSAL),
                Answers(width, classes),
            ]
        ),
        places=(tokens,) * 4,
        layers=(
            embedding,
            CAUSAL.layers(tokens),
            feed_layers(inner),
            CAUSAL.layers(tokens),
            (footprint.conv(inner, classes),),
        ),
    )
