"""The blueprint that does nothing: number 0 of every policy, and what WAIT comes to."""

from __future__ import annotations

from torch import nn

from tamiyo_train.blueprints.base import Blueprint, add
from tamiyo_train.slots import Domain

NO_OP = add(
    Blueprint(
        name="no-op",
        summary="y = x: what WAIT comes to",
        domains=frozenset(Domain),
        build=lambda slot: nn.Identity(),
        layers=lambda slot: (),
        causal=True,
    )
)
