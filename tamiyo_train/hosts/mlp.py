"""Multi-layer perceptrons, on purpose too narrow for their task: three hidden layers of ``width`` units, or more.

    flatten -> linear, ReLU -> [slot 0] -> linear, ReLU -> [slot 1] -> linear, ReLU -> [slot 2] -> linear

There is a slot behind every hidden layer, so ``depth`` is the number of slots. Hosts deeper than three are initialised
after He et al. (2015), variance 2 / fan-in: by torch's own a signal shrinks to a third in every layer, and a dozen of
them learn nothing.

``mlp-skip`` carries the network's input beside the hidden units through every slot, so that what grows there can read
it: a seed with k inner units then widens a layer by k neurons that are not limited to what the narrow host let through.
``mlp-shallow`` is that without the later ReLUs: one hidden layer and linear maps, so that depth comes from seeds alone.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.hosts.base import Host, hosts
from tamiyo_train.slots import Shape, vector

DEPTH = 3
"""Hidden layers unless said otherwise."""


class Hidden(nn.Module):
    """linear, and a ReLU if it ``bends``: (B, inputs + carried) -> (B, width + carried); samples are flattened."""

    def __init__(self, inputs: int, width: int, *, carried: int = 0, bends: bool = True) -> None:
        super().__init__()
        self.inputs = inputs
        self.carried = carried
        self.linear = nn.Linear(inputs, width)
        self.act = nn.ReLU() if bends else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden units, and behind them what is carried: the last ``carried`` features of the input."""
        x = x.flatten(1)
        features: torch.Tensor = self.linear(x[:, : self.inputs] if x.shape[1] > self.inputs else x)
        features = features if self.act is None else self.act(features)
        return torch.cat([features, x[:, x.shape[1] - self.carried :]], 1) if self.carried else features


class Head(nn.Module):
    """linear on the hidden units alone: (B, width + carried) -> (B, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        out: torch.Tensor = self.linear(x[:, : self.width] if x.shape[1] > self.width else x)
        return out


@hosts.register("mlp")
def mlp(*, shape: Shape, classes: int, width: int = 8, depth: int = DEPTH) -> Host:
    """Build the plain host for samples of ``shape``."""
    return _build("mlp", shape, classes, width, depth, carries=False)


@hosts.register("mlp-skip")
def mlp_skip(*, shape: Shape, classes: int, width: int = 8, depth: int = DEPTH) -> Host:
    """Build the host that carries its input along."""
    return _build("mlp-skip", shape, classes, width, depth, carries=True)


@hosts.register("mlp-shallow")
def mlp_shallow(*, shape: Shape, classes: int, width: int = 8) -> Host:
    """Build the host of one hidden layer and linear maps behind it, which carries its input along."""
    return _build("mlp-shallow", shape, classes, width, DEPTH, carries=True, bends=False)


def _build(name: str, shape: Shape, classes: int, width: int, depth: int, *, carries: bool, bends: bool = True) -> Host:
    inputs = math.prod(shape)
    carried = inputs if carries else 0
    first = Hidden(inputs, width, carried=carried)
    pieces = [first, *(Hidden(width, width, carried=carried, bends=bends) for _ in range(depth - 1))]
    trunk = nn.ModuleList([*pieces, Head(width, classes)])
    if depth > DEPTH:
        for piece in pieces:
            nn.init.kaiming_normal_(piece.linear.weight, nonlinearity="relu")
            nn.init.zeros_(piece.linear.bias)
    joining = (footprint.pointwise(Kind.RESHAPE, width + carried),) if carries else ()
    cutting = (footprint.pointwise(Kind.RESHAPE, width),) if carries else ()
    flatten = (footprint.pointwise(Kind.RESHAPE, inputs),) if len(shape) > 1 else ()

    def hidden(fan_in: int, *before: Layer, bends: bool = True) -> tuple[Layer, ...]:
        act = (footprint.activation(width),) if bends else ()
        return *before, footprint.linear(fan_in, width), *act, *joining

    return Host(
        name=f"{name}-{width}" if depth == DEPTH else f"{name}-{width}x{depth}",
        trunk=trunk,
        places=tuple(vector(width + carried, carried=shape if carries else None) for _ in range(depth)),
        layers=(
            hidden(inputs, *flatten),
            *(hidden(width, *cutting, bends=bends) for _ in range(depth - 1)),
            (*cutting, footprint.linear(width, classes)),
        ),
    )
