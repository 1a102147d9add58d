"""Sparse activation (k winners, Ahmad and Scheinkman 2019): y = x + project(winners(widen(x))), d -> 2d -> d.

In training the threshold of every position is its own (k+1)-th largest value, so that exactly k = h/4 of the h = 2d
neurons are active; a running mean of it is kept, and evaluation uses that, as batch norm does with its statistics: what
is evaluated is then what is deployed, and no accelerator has to sort. Deployed, the threshold is part of the bias, and
the seed is d -> 2d, ReLU, 2d -> d. Parameters 4d*d + 3d.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train.blueprints.base import Blueprint, add, changed, mix, zeroed
from tamiyo_train.blueprints.bottleneck import BottleneckSeed, bottleneck_layers
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Domain, Slot

SHARE = 0.25
MOMENTUM = 0.1


class SparseActivationSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    threshold: torch.Tensor

    def __init__(self, slot: Slot, inner: int) -> None:
        super().__init__()
        self.slot = slot
        self.inner = inner
        self.winners = max(1, int(SHARE * inner))
        self.widen = mix(slot.domain, slot.channels, inner)
        self.act = nn.ReLU()
        self.project = zeroed(mix(slot.domain, inner, slot.writable))
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what the winners add."""
        hidden = self.widen(x)
        return changed(x, self.project(self.act(hidden - self._threshold(hidden))))

    def deployed(self) -> nn.Module:
        """The same with the running threshold in the bias."""
        with initialising(0):  # overwritten below; torch's generator stays where it is
            made = BottleneckSeed(self.slot, self.inner)
        with torch.no_grad():
            made.down.load_state_dict(self.widen.state_dict())
            made.up.load_state_dict(self.project.state_dict())
            assert made.down.bias is not None
            made.down.bias.sub_(self.threshold)
        return made

    def _threshold(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.threshold
        with torch.no_grad():
            found = hidden.topk(self.winners + 1, dim=1).values[:, -1:]
            self.threshold.lerp_(found.mean(), MOMENTUM)
        return found


def _inner(slot: Slot) -> int:
    return 2 * slot.writable


SPARSE_ACTIVATION = add(
    Blueprint(
        name="sparse-activation",
        summary="2d neurons a position, of which the strongest quarter is active",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: SparseActivationSeed(slot, _inner(slot)),
        layers=lambda slot: bottleneck_layers(slot, _inner(slot)),
        config={"widening": 2, "share": SHARE},
        causal=True,
        left_out=("ranking neurons: the threshold is the running mean of training, as in evaluation",),
    )
)
