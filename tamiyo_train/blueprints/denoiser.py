"""Denoising autoencoder (Vincent et al. 2008) as a small residual: y = x + decode(encode(x)), d - d/2 - d/4 - d/2 - d.

The first map looks at its neighbourhood (size 3) where there is one; the last is zero at birth. Beside the task's loss
it is trained to undo noise: the seed's answer to a corrupted slot tensor should be the clean one. The noise is the
difference of two other samples of the batch, so it has mean zero and the covariance of the data, needs no generator,
and hits those directions hardest in which the data vary. Parameters, with a = max(d/2, 4), b = max(d/4, 2) and n axes:
3^n d a + a + ab + b + ba + a + ad + d.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, Linear, add, changed, convolution, mix, zeroed
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Slot

NOISE = 0.25
"""Standard deviation of the noise over that of the data."""


class DenoiserSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...); a `WithAuxiliaryLoss`."""

    def __init__(self, slot: Slot, outer: int, inner: int) -> None:
        super().__init__()
        self.writable = slot.writable
        first: Linear = (
            mix(slot.domain, slot.channels, outer)
            if slot.domain is Domain.VECTOR
            else convolution(slot.domain, slot.channels, outer)
        )
        self.encoder = nn.Sequential(first, nn.ReLU(), mix(slot.domain, outer, inner), nn.ReLU())
        last = zeroed(mix(slot.domain, outer, slot.writable))
        self.decoder = nn.Sequential(mix(slot.domain, inner, outer), nn.ReLU(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus a correction towards what inputs usually look like."""
        return changed(x, self.decoder(self.encoder(x)))

    def auxiliary_loss(self, x: torch.Tensor) -> torch.Tensor:
        """Mean square of what is left of the noise over that of the noise: 1 at birth, 0 when all is undone."""
        x = x.detach()
        noise = (x.roll(1, 0) - x.roll(2, 0)) * (NOISE / 2**0.5)
        left: torch.Tensor = (self(x + noise) - x)[:, : self.writable].square().mean()
        return left / noise[:, : self.writable].square().mean().clamp_min(torch.finfo(x.dtype).tiny)


def _widths(slot: Slot) -> tuple[int, int]:
    return max(slot.writable // 2, 4), max(slot.writable // 4, 2)


def _layers(slot: Slot) -> tuple[Layer, ...]:
    outer, inner = _widths(slot)
    first = (
        footprint.mix(slot, slot.channels, outer)
        if slot.domain is Domain.VECTOR
        else footprint.conv(slot.shape, outer, kernel=3)
    )
    return (
        first,
        footprint.activation(outer * slot.positions),
        footprint.mix(slot, outer, inner),
        footprint.activation(inner * slot.positions),
        footprint.mix(slot, inner, outer),
        footprint.activation(outer * slot.positions),
        footprint.mix(slot, outer, slot.writable),
        *footprint.changed(slot),
    )


DENOISER = add(
    Blueprint(
        name="denoiser",
        summary="a small autoencoder that is also trained to undo noise",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: DenoiserSeed(slot, *_widths(slot)),
        layers=_layers,
        config={"noise": NOISE},
    )
)
