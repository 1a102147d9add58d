"""A depthwise-separable convolutional host for small images, on purpose too small for its task.

    conv 3x3 -> [slot 0] -> separable -> [slot 1] -> separable, stride 2 -> [slot 2] -> separable -> [slot 3]
             -> mean over height and width -> linear

Separable = depthwise 3x3, pointwise 1x1, batch norm, ReLU: the norm folds into the pointwise convolution, the depthwise
one gets a bias of zero when it is deployed. Means keep their dimensions before they are flattened, so that exporters
make no transpose.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.hosts.base import Host, check_samples_fit, hosts
from tamiyo_train.slots import Domain, image


class Stem(nn.Module):
    """conv 3x3, batch norm, ReLU: (B, C_in, H, W) -> (B, C, H, W)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features at full resolution."""
        out: torch.Tensor = self.act(self.norm(self.conv(x)))
        return out


class Separable(nn.Module):
    """depthwise 3x3, pointwise 1x1, batch norm, ReLU: (B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, at half the resolution with stride 2."""
        out: torch.Tensor = self.act(self.norm(self.pointwise(self.depthwise(x))))
        return out


class Head(nn.Module):
    """Mean over height and width, then a linear layer: (B, C, H, W) -> (B, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        out: torch.Tensor = self.linear(x.mean((2, 3), keepdim=True).flatten(1))
        return out


@hosts.register("dsconv")
def dsconv(*, shape: tuple[int, int, int], classes: int, width: int = 4) -> Host:
    """Build the host for samples of ``shape``; weights come from torch's generator, see `seeding.initialising`."""
    check_samples_fit("dsconv", Domain.IMAGE, shape)
    channels, wide = width, 2 * width
    full = (channels, shape[1], shape[2])
    half = (wide, -(-shape[1] // 2), -(-shape[2] // 2))
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
        (footprint.conv(shape, channels, kernel=3), footprint.activation(math.prod(full))),
        _separable(full, channels),
        _separable(full, wide, stride=2),
        _separable(half, wide),
        (
            footprint.mean(half),
            footprint.pointwise(Kind.RESHAPE, wide),
            footprint.linear(wide, classes),
        ),
    )
    return Host(
        name=f"dsconv-{channels}",
        trunk=trunk,
        places=(image(*full), image(*full), image(*half), image(*half)),
        layers=layers,
    )


def _separable(shape: tuple[int, int, int], out_channels: int, *, stride: int = 1) -> tuple[Layer, ...]:
    channels, height, width = shape
    inner = (channels, -(-height // stride), -(-width // stride))
    depthwise = footprint.conv(shape, channels, kernel=3, stride=stride, depthwise=True)
    pointwise = footprint.conv(inner, out_channels)
    return depthwise, pointwise, footprint.activation(pointwise.output_elements)
