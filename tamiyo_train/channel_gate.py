"""Blending by a learned gate: one factor a channel that the task itself opens, in the place of one ramp for all.

    y = x + sigmoid(logit)[c] * (seed(x) - x)        on the channels a seed may write

Almost closed at first, trained with the task, and gone when blending ends: the gates are folded into the seed's last
projection where it has one, so that nothing of them is left to export; where it has none the seed is opened fully.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from tamiyo_train.blueprints.base import Linear
from tamiyo_train.slots import Domain, Slot

CLOSED = -4.0
"""Logit of a newborn gate: 1.8 % open."""
OPEN = 0.95
"""A gate this far open counts as open."""
FOLDING_TOLERANCE = 1e-5


class ChannelGate(nn.Module):
    """A seed behind a learned gate a channel: (B, d, ...) -> (B, d, ...)."""

    def __init__(self, inner: nn.Module, slot: Slot) -> None:
        super().__init__()
        self.inner = inner
        self._axis = 2 if slot.domain is Domain.JOINT else 1
        self.logit = nn.Parameter(torch.full((slot.writable,), CLOSED))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, moved towards the seed's output as far as each channel's gate is open."""
        y: torch.Tensor = self.inner(x)
        width = len(self.logit)
        head, behind = x.narrow(self._axis, 0, width), x.shape[self._axis] - width
        shape = [1] * x.dim()
        shape[self._axis] = width
        head = head + torch.sigmoid(self.logit).view(shape) * (y.narrow(self._axis, 0, width) - head)
        return torch.cat([head, x.narrow(self._axis, width, behind)], self._axis) if behind else head

    def openness(self) -> torch.Tensor:
        """How far each gate is open, (writable,), 0..1."""
        return torch.sigmoid(self.logit.detach())


def settled(gate: ChannelGate, probe: torch.Tensor) -> tuple[nn.Module, bool]:
    """The seed without its gate, and whether the gates were folded into it.

    All gates open, or no projection they can go into: the seed as it is. Else the rows of its last linear map are
    scaled by the gates in place, which is kept only if the output on ``probe`` (N, *slot) is that of the gated seed.
    """
    openness = gate.openness()
    if bool((openness >= OPEN).all()):
        return gate.inner, False
    with torch.no_grad():
        gate.eval()
        expected = gate(probe)
        for name, layer in reversed(list(gate.inner.named_modules())):
            if not isinstance(layer, Linear) or layer.weight.shape[0] != len(openness):
                continue
            trial = copy.deepcopy(gate.inner).eval()
            _scale(trial.get_submodule(name), openness)
            scale = max(1.0, float(expected.abs().max()))
            if float((trial(probe) - expected).abs().max()) < FOLDING_TOLERANCE * scale:
                _scale(layer, openness)
                return gate.inner, True
    return gate.inner, False


def _scale(layer: nn.Module, factors: torch.Tensor) -> None:
    assert isinstance(layer, Linear)
    layer.weight.mul_(factors.view(-1, *[1] * (layer.weight.dim() - 1)))
    if layer.bias is not None:
        layer.bias.mul_(factors)
