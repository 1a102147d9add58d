"""Quant-adapter: a bottleneck that computes with quantised weights and activations, in training and in evaluation.

y = x + up(q(relu(down(q(x))))): weights on a symmetric grid per output channel, activations on an affine 8-bit grid
whose range follows the data in training and stands still in evaluation. Rounding passes gradients straight through
(Bengio et al. 2013; Jacob et al. 2018), clipping does not. So int8 accuracy is seen while it grows, not after export.

Deployed, the weights lie on their grid and the activations are left to the target: int8 kernels round them themselves.
Parameters 2dk + k + d with k = max(d/4, 8).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_train.blueprints.base import Blueprint, Linear, add, changed, mix, zeroed
from tamiyo_train.blueprints.bottleneck import BottleneckSeed, bottleneck_layers
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Domain, Slot

ACTIVATION_BITS = 8
MOMENTUM = 0.1
UNSEEN = 4.0
"""Half the range of activations before any were seen: the slot tensors of our hosts lie within it."""


class Quantised(nn.Module):
    """Activations on an affine grid of 2^8 steps; any shape."""

    low: torch.Tensor
    high: torch.Tensor
    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(-UNSEEN))
        self.register_buffer("high", torch.tensor(UNSEEN))
        self.register_buffer("seen", torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest values of the grid; outside its range, the range's ends."""
        if self.training:
            self._follow(x.detach())
        step = ((self.high - self.low) / (2**ACTIVATION_BITS - 1)).clamp_min(torch.finfo(x.dtype).tiny)
        zero = torch.round(-self.low / step)
        inside = torch.clamp(x, -zero * step, (2**ACTIVATION_BITS - 1 - zero) * step)
        return straight_through(inside, torch.round(inside / step) * step)

    def _follow(self, x: torch.Tensor) -> None:
        weight = torch.where(self.seen > 0, MOMENTUM, 1.0)
        self.low.lerp_(x.min().clamp_max(0), weight)  # zero lies on every grid
        self.high.lerp_(x.max().clamp_min(0), weight)
        self.seen.fill_(1)


def straight_through(x: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """``rounded``, with the gradient of ``x``."""
    return x + (rounded - x).detach()


def on_grid(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Weights (out, ...) on a symmetric grid of 2^bits - 1 steps per output channel, gradients straight through."""
    levels = 2 ** (bits - 1) - 1
    peak = weight.detach().abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny * levels)
    step = (peak / levels).reshape(-1, *[1] * (weight.dim() - 1))
    return straight_through(weight, torch.round(weight / step) * step)


class QuantAdapterSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...)."""

    def __init__(self, slot: Slot, inner: int, bits: int) -> None:
        super().__init__()
        self.slot = slot
        self.inner = inner
        self.bits = bits
        self.down = mix(slot.domain, slot.channels, inner)
        self.act = nn.ReLU()
        self.up = zeroed(mix(slot.domain, inner, slot.writable))
        self.entering = Quantised()
        self.hidden = Quantised()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction computed on the grid; the input itself is not rounded."""
        hidden = self.act(self._mixed(self.down, self.entering(x)))
        return changed(x, self._mixed(self.up, self.hidden(hidden)))

    def deployed(self) -> nn.Module:
        """A bottleneck with the weights on their grid."""
        with initialising(0):  # overwritten below; torch's generator stays where it is
            made = BottleneckSeed(self.slot, self.inner)
        with torch.no_grad():
            for ours, theirs in ((self.down, made.down), (self.up, made.up)):
                theirs.load_state_dict({**ours.state_dict(), "weight": on_grid(ours.weight, self.bits)})
        return made

    def _mixed(self, layer: Linear, x: torch.Tensor) -> torch.Tensor:
        weight = on_grid(layer.weight, self.bits)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, layer.bias)
        if isinstance(layer, nn.Conv1d):
            return F.conv1d(x, weight, layer.bias)
        return F.conv2d(x, weight, layer.bias)


def _inner(slot: Slot) -> int:
    return max(slot.writable // 4, 8)


def _preset(name: str, bits: int) -> Blueprint:
    return Blueprint(
        name=name,
        summary=f"d-k-d on {bits}-bit weights and 8-bit activations while it is trained, k = max(d/4, 8)",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: QuantAdapterSeed(slot, _inner(slot), bits),
        layers=lambda slot: bottleneck_layers(slot, _inner(slot)),
        config={"bits": bits, "ratio": 0.25, "least": 8},
        left_out=("rounding of activations: int8 kernels do it, a float graph has no need of it",),
    )


QUANT_ADAPTER = add(_preset("quant-adapter", 8))
QUANT_ADAPTER_4 = add(_preset("quant-adapter-4bit", 4))
