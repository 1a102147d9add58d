"""A depthwise-separable convolutional host for short sequences, on purpose too small for its task.

    conv 5, stride 2 -> [slot 0] -> separable -> [slot 1] -> separable, stride 2 -> [slot 2] -> separable -> [slot 3]
                     -> mean over time -> linear

Separable = depthwise 3, pointwise 1, batch norm, ReLU: the norm folds into the pointwise convolution, the depthwise one
gets a bias of zero when it is deployed.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.hosts.base import Host, check_samples_fit, hosts
from tamiyo_train.hosts.piece import Piece
from tamiyo_train.slots import Domain, sequence

STEM_KERNEL = 5


class Stem(Piece):
    """conv 5 with stride 2, batch norm, ReLU: (B, C_in, T) -> (B, C, T / 2)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, STEM_KERNEL, stride=2, padding=STEM_KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.act = nn.ReLU()

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Features at half the rate."""
        out: torch.Tensor = self.act(self.norm(self.conv(x)))
        return out


class Separable(Piece):
    """depthwise 3, pointwise 1, batch norm, ReLU: (B, C_in, T) -> (B, C_out, T / stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)
        self.act = nn.ReLU()

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Features, at half the rate with stride 2."""
        out: torch.Tensor = self.act(self.norm(self.pointwise(self.depthwise(x))))
        return out


class Head(Piece):
    """Mean over time, then a linear layer: (B, C, T) -> (B, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        out: torch.Tensor = self.linear(x.mean(2, keepdim=True).flatten(1))
        return out


@hosts.register("conv1d")
def conv1d(*, shape: tuple[int, int], classes: int, width: int = 6) -> Host:
    """Build the host for samples of ``shape`` (channels, time); weights come from torch's generator."""
    check_samples_fit("conv1d", Domain.SEQUENCE, shape)
    channels, wide = width, 2 * width
    half = (channels, -(-shape[1] // 2))
    quarter = (wide, -(-half[1] // 2))
    trunk = nn.ModuleList(
        [
            Stem(shape[0], channels),
            Separable(channels, channels),
            Separable(channels, wide, stride=2),
            Separable(wide, wide),
            Head(wide, classes),
        ]
    )
    layers = (
        (footprint.conv(shape, channels, kernel=STEM_KERNEL, stride=2), footprint.activation(math.prod(half))),
        _separable(half, channels),
        _separable(half, wide, stride=2),
        _separable(quarter, wide),
        head_layers(quarter, classes),
    )
    return Host(
        name=f"conv1d-{channels}",
        trunk=trunk,
        places=(sequence(*half), sequence(*half), sequence(*quarter), sequence(*quarter)),
        layers=layers,
    )


def head_layers(shape: tuple[int, int], classes: int) -> tuple[Layer, ...]:
    """Closed-form cost of `Head`."""
    channels = shape[0]
    return (
        footprint.mean(shape),
        footprint.pointwise(Kind.RESHAPE, channels),
        footprint.linear(channels, classes),
    )


def _separable(shape: tuple[int, int], out_channels: int, *, stride: int = 1) -> tuple[Layer, ...]:
    channels, time = shape
    inner = (channels, -(-time // stride))
    depthwise = footprint.conv(shape, channels, kernel=3, stride=stride, depthwise=True)
    pointwise = footprint.conv(inner, out_channels)
    return depthwise, pointwise, footprint.activation(pointwise.output_elements)
