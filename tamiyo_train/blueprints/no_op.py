"""The blueprint that does nothing: number 0 of every policy, and what WAIT comes to."""

from __future__ import annotations

from torch import nn

from tamiyo_train.blueprints.base import Domain, blueprints
from tamiyo_train.footprint import Layer, Shape


class NoOp:
    """y = x; no parameters, no work."""

    name = "no-op"
    domain = Domain.IMAGE
    rate = 1.0

    def build(self, shape: Shape) -> nn.Module:
        """The identity."""
        return nn.Identity()

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """None."""
        return ()


blueprints.register("no-op")(NoOp())
