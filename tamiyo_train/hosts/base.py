"""What a host is: trunk pieces with a slot between each two, and what each piece costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.footprint import Footprint, Layer, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """K+1 trunk pieces for K slots: x -> trunk[0] -> slot 0 -> trunk[1] -> ... -> trunk[K] -> logits (batch, classes).

    ``slot_shapes[k]`` is what passes through slot k; ``layers[k]`` is the closed-form cost of piece k as deployed.
    """

    name: str
    trunk: nn.ModuleList
    slot_shapes: tuple[Shape, ...]
    layers: tuple[tuple[Layer, ...], ...]

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.slot_shapes)

    def footprint(self) -> Footprint:
        """Cost of the bare host."""
        return Footprint.of(layer for piece in self.layers for layer in piece)


hosts: Registry[Callable[..., Host]] = Registry("hosts")
