"""A small attention host for short sequences: three residual parts on tokens that are two samples of time apart.

    conv 5, stride 2, positions -> [slot 0] -> attention -> [slot 1] -> feed-forward -> [slot 2] -> attention
                                -> [slot 3] -> mean over time -> linear

A part is x + part(x). Feed-forward ends in a batch norm, which folds into the convolution before it: a layer norm would
be computed on the device. Attention has one head and is zero at first, as the seed of that name is.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.attention import SINGLE
from tamiyo_train.blueprints.base import Blueprint
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.hosts.base import Host, check_samples_fit, hosts
from tamiyo_train.hosts.conv1d import STEM_KERNEL, Head, Stem, head_layers
from tamiyo_train.hosts.piece import Piece
from tamiyo_train.slots import Domain, Slot, sequence

FEED_FACTOR = 2


class Embedding(Piece):
    """`Stem`, then a learned vector a position is added: (B, C_in, T) -> (B, C, T / 2)."""

    def __init__(self, in_channels: int, channels: int, tokens: int) -> None:
        super().__init__()
        self.stem = Stem(in_channels, channels)
        self.positions = nn.Parameter(0.1 * torch.randn(1, channels, tokens))

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens that know where they are."""
        out: torch.Tensor = self.stem(x) + self.positions
        return out


class Attention(Piece):
    """x + out(attend(x)): (B, C, T) -> (B, C, T), every token from those that the blueprint has it look at."""

    def __init__(self, tokens: Slot, blueprint: Blueprint = SINGLE) -> None:
        super().__init__()
        self.attend = blueprint.build(tokens)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens plus what they took from the others."""
        out: torch.Tensor = self.attend(x)
        return out


class Feed(Piece):
    """x + norm(down(relu(up(x)))): (B, C, T) -> (B, C, T), every token by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.Conv1d(channels, FEED_FACTOR * channels, 1)
        self.act = nn.ReLU()
        self.down = nn.Conv1d(FEED_FACTOR * channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens plus a function of themselves."""
        out: torch.Tensor = x + self.norm(self.down(self.act(self.up(x))))
        return out


@hosts.register("attention1d")
def attention1d(*, shape: tuple[int, int], classes: int, width: int = 8) -> Host:
    """Build the host for samples of ``shape`` (channels, time); weights come from torch's generator."""
    check_samples_fit("attention1d", Domain.SEQUENCE, shape)
    tokens = sequence(width, -(-shape[1] // 2))
    elements, inner = tokens.elements, (width, tokens.positions)
    embedding = (
        footprint.conv(shape, width, kernel=STEM_KERNEL, stride=2),
        footprint.activation(elements),
        replace(footprint.pointwise(Kind.ADD, elements, operands=2), params=elements),
    )
    return Host(
        name=f"attention1d-{width}",
        trunk=nn.ModuleList(
            [
                Embedding(shape[0], width, tokens.positions),
                Attention(tokens),
                Feed(width),
                Attention(tokens),
                Head(width, classes),
            ]
        ),
        places=(tokens,) * 4,
        layers=(
            embedding,
            SINGLE.layers(tokens),
            feed_layers(inner),
            SINGLE.layers(tokens),
            head_layers(inner, classes),
        ),
    )


def feed_layers(shape: tuple[int, int]) -> tuple[Layer, ...]:
    """What the feed-forward part comes to as deployed, (channels, time) in and out."""
    channels, time = shape
    return (
        footprint.conv(shape, FEED_FACTOR * channels),
        footprint.activation(FEED_FACTOR * channels * time),
        footprint.conv((FEED_FACTOR * channels, time), channels),
        footprint.pointwise(Kind.ADD, math.prod(shape), operands=2),
    )
