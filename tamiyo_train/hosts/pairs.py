"""A host that says how well an image goes with each caption of its gallery: two towers, compared by their cosine.

    image: conv 3x3, conv 3x3, linear     \\
                                            -> [slot 0] -> own map -> [slot 1] -> own map -> [slot 2] -> cosine
    captions: sum over their words' vectors /

What passes the slots is every pair of the image with a caption, (2, d, K), never the matching one alone; d is four
times the width, which is that of the convolutions. An own map is x + linear(x), another for each modality. Nothing in
host or seeds knows a caption's place, so captions in another order give the same logits in that order.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_train import footprint
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.hosts.base import Host, hosts
from tamiyo_train.slots import joint
from tamiyo_train.tasks.captions import LEVELS, PIXELS
from tamiyo_train.tasks.captions.scenes import SIDE
from tamiyo_train.tasks.captions.sentences import LENGTH, WORDS

_QUARTER = SIDE // 4
_EMBEDDING = 4
"""Channels of an embedding for one of the convolutions."""
_SHARPNESS = 10.0
"""What a cosine is multiplied by at first; it is learned."""


class Pairs(nn.Module):
    """(B, pixels and words) -> (B, 2, d, K): the image's embedding K times, and that of every caption."""

    def __init__(self, width: int, channels: int, gallery: int) -> None:
        super().__init__()
        self.gallery = gallery
        self.look = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(width * _QUARTER**2, channels),
        )
        self.words = nn.Linear(len(WORDS), channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both embeddings, pair by pair; a caption's is the sum over its words' vectors, none for the unknown."""
        seen = self.look(x[:, :PIXELS].reshape(-1, 3, SIDE, SIDE))
        numbers = (LEVELS * x[:, PIXELS:]).round().long().reshape(len(x), self.gallery, LENGTH)
        known = (numbers > 0) & (numbers < len(WORDS))
        counts = x.new_zeros(len(x), self.gallery, len(WORDS)).scatter_add_(2, numbers * known, known.to(x.dtype))
        read = self.words(counts).transpose(1, 2)
        return torch.stack([seen[:, :, None].expand_as(read), read], 1)


class Own(nn.Module):
    """x + linear(x), another linear for each modality: (B, 2, d, K) -> (B, 2, d, K)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(2 * channels, 2 * channels, 1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every embedding plus a linear function of itself."""
        flat = x.flatten(1, 2)
        out: torch.Tensor = (flat + self.linear(flat)).reshape(x.shape)
        return out


class Likeness(nn.Module):
    """The cosine of every pair, sharpened: (B, 2, d, K) -> (B, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits over the gallery."""
        unit = F.normalize(x, dim=2, eps=1e-6)
        out: torch.Tensor = self.sharpness * (unit[:, 0] * unit[:, 1]).sum(1)
        return out


@hosts.register("pairs")
def pairs(*, shape: tuple[int, ...], classes: int, width: int = 3) -> Host:
    """Build the host for an image and ``classes`` captions a sample; weights come from torch's generator.

    Raises UsageError for samples of another shape.
    """
    expected = (PIXELS + classes * LENGTH,)
    if tuple(shape) != expected:
        raise UsageError(
            f"host 'pairs' takes an image and captions; samples of the task have shape {tuple(shape)}",
            hint="leave the host out for the task's own; captions is the task of this one",
        )
    channels = _EMBEDDING * width
    own = _own(channels, classes)
    return Host(
        name=f"pairs-{width}",
        trunk=nn.ModuleList([Pairs(width, channels, classes), Own(channels), Own(channels), Likeness()]),
        places=(joint(channels, classes),) * 3,
        layers=(_encoding(width, channels, classes), own, own, _compared(channels, classes)),
    )


def _encoding(width: int, channels: int, gallery: int) -> tuple[Layer, ...]:
    """Reading a caption counts as the product with a vector of word counts."""
    half, quarter = SIDE // 2, _QUARTER
    return (
        footprint.conv((3, SIDE, SIDE), width, kernel=3, stride=2),
        footprint.activation(width * half**2),
        footprint.conv((width, half, half), width, kernel=3, stride=2),
        footprint.activation(width * quarter**2),
        footprint.linear(width * quarter**2, channels),
        replace(footprint.linear(len(WORDS), channels, positions=gallery, bias=False), at_entry=True),
        *footprint.transposed(gallery, channels),
        footprint.pointwise(Kind.CONCAT, 2 * channels * gallery),
    )


def _own(channels: int, gallery: int) -> tuple[Layer, ...]:
    linear = footprint.conv((channels, gallery), channels)
    return linear, linear, footprint.pointwise(Kind.ADD, 2 * channels * gallery, operands=2)


def _compared(channels: int, gallery: int) -> tuple[Layer, ...]:
    """Squares, their means, roots; then the products, their means, and the sharpness."""
    return (
        footprint.pointwise(Kind.MULTIPLY, 2 * channels * gallery, operands=2),
        footprint.mean((2 * gallery, channels)),
        footprint.pointwise(Kind.MULTIPLY, 2 * channels * gallery, operands=2),
        footprint.pointwise(Kind.MULTIPLY, channels * gallery, operands=2),
        footprint.mean((gallery, channels)),
        replace(footprint.pointwise(Kind.MULTIPLY, gallery), params=1),
    )
