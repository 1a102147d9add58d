"""What a blueprint is."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from torch import nn

from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.footprint import Layer, Shape


class Domain(StrEnum):
    """What a blueprint works on."""

    VECTOR = "vector"
    SEQUENCE = "sequence"
    IMAGE = "image"


class Blueprint(Protocol):
    """A kind of seed: y = seed(x) with the residual inside, of x's shape, and y = x at birth.

    ``rate``: multiplier of the host's learning rate that intensity 1 means; wide sums need smaller steps.
    Seeds are made of operators that every target knows in int8: convolution, add, multiply, mean, ReLU, logistic.
    """

    name: str
    domain: Domain
    rate: float

    def build(self, shape: Shape) -> nn.Module:
        """A newborn seed for a slot of that shape; weights come from torch's generator."""

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """Closed-form cost, layer by layer, of a seed in a slot of that shape."""


blueprints: Registry[Blueprint] = Registry("blueprints")


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias set to zero: what makes a residual seed the identity at birth."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
