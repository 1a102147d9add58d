"""Fail-safe gating: a wrapper round any blueprint, y = s x + (1 - s) new with s = sigmoid(g) learned per channel.

Computed as x + (1 - s)(new - x), so that it is exactly x where the seed is the identity. It closes to the host: a
sample for which the seed gives anything that is not finite passes exactly as it came. Costs d parameters and three
operators beside the wrapped seed's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, WithAuxiliaryLoss, add, changed, deployed
from tamiyo_train.blueprints.bottleneck import BOTTLENECK
from tamiyo_train.blueprints.cross_attention import CROSS_ATTENTION
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot

OPEN = -2.0
"""g at birth: 88 % of what the seed adds passes."""


class FailSafeSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot, seed: nn.Module) -> None:
        super().__init__()
        self.seed = seed
        self.width = None if slot.carried is None else slot.writable
        self.closed = nn.Parameter(torch.full(_gate_shape(slot), OPEN))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, moved towards the seed's answer as far as the gate lets it; itself where that is not finite."""
        new = self.seed(x)
        finite = torch.isfinite(new).flatten(1).all(1).reshape(-1, *[1] * (x.dim() - 1))
        return torch.where(finite, gated(x, new, torch.sigmoid(-self.closed), self.width), x)

    def deployed(self) -> nn.Module:
        """The gate as a constant; the check is left out, see `Blueprint.left_out`."""
        return ConstantGate(deployed(self.seed), torch.sigmoid(-self.closed.detach()), self.width)


class FailSafeSeedWithLoss(FailSafeSeed):
    """Round a seed that has a loss of its own: a `WithAuxiliaryLoss`."""

    def auxiliary_loss(self, x: torch.Tensor) -> torch.Tensor:
        """The wrapped seed's loss."""
        assert isinstance(self.seed, WithAuxiliaryLoss)
        return self.seed.auxiliary_loss(x)


class ConstantGate(nn.Module):
    """A deployed fail-safe seed: (B, d, ...) -> (B, d, ...)."""

    def __init__(self, seed: nn.Module, share: torch.Tensor, width: int | None) -> None:
        super().__init__()
        self.seed = seed
        self.width = width
        self.share = nn.Parameter(share)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, moved towards the seed's answer."""
        return gated(x, self.seed(x), self.share, self.width)


def gated(x: torch.Tensor, new: torch.Tensor, share: torch.Tensor, width: int | None) -> torch.Tensor:
    """x + share (new - x) on the first ``width`` channels, or on all of them when that is None."""
    if width is None:
        return x + share * (new - x)
    return changed(x, share * (new[:, :width] - x[:, :width]))


def fail_safe(blueprint: Blueprint) -> Blueprint:
    """The blueprint ``fail-safe-NAME``: the same seed behind a gate that closes to the host on a fault.

    A seed's own loss shows through the wrapper; inner slots and scores do not.
    """

    def build(slot: Slot) -> nn.Module:
        seed = blueprint.build(slot)
        wrapper = FailSafeSeedWithLoss if isinstance(seed, WithAuxiliaryLoss) else FailSafeSeed
        return wrapper(slot, seed)

    def layers(slot: Slot) -> tuple[Layer, ...]:
        written = slot.elements if slot.carried is None else slot.writable
        gate = footprint.pointwise(Kind.MULTIPLY, written)
        return (
            *blueprint.layers(slot),
            footprint.pointwise(Kind.ADD, written, operands=2),
            replace(gate, params=slot.writable),
            *footprint.changed(slot),
        )

    return replace(
        blueprint,
        name=f"fail-safe-{blueprint.name}",
        summary=f"{blueprint.name} behind a learned gate that closes to the host on a fault",
        build=build,
        layers=layers,
        deploy=deployed,
        causal=False,  # one step that is not finite closes the gate at all of them
        left_out=(
            *blueprint.left_out,
            "the check for values that are not finite: int8 has none, and no int8 kernel for it exists",
        ),
    )


def _gate_shape(slot: Slot) -> tuple[int, ...]:
    """One gate a writable channel, in a shape that broadcasts over a sample."""
    if slot.domain is Domain.JOINT:
        return (1, slot.channels, 1)
    return (slot.writable, *[1] * (len(slot.shape) - 1))


FAIL_SAFE_BOTTLENECK = add(fail_safe(BOTTLENECK))
FAIL_SAFE_CROSS_ATTENTION = add(fail_safe(CROSS_ATTENTION))
