"""Who says how what is left of a budget is split over the regions of a host: the slow half of the hierarchy."""

from __future__ import annotations

from typing import Protocol

import torch

from tamiyo_train.regions.division import MOST_SLOTS
from tamiyo_train.regions.telemetry import FEATURES

Tensor = torch.Tensor
EVERY = 5
"""Decision windows between two splits."""
PRIOR = 0.5
"""Pressure a region without a seed is taken to have; a seed's lies in 0..1."""
_UTILISATION, _GRADIENT, _FREE, _SEEDS = (
    FEATURES.index(name) for name in ("utilisation", "gradient_ratio", "free", "seeds")
)


class Allocator(Protocol):
    """Splits what is left. Whatever it says, `accounts` holds regions to computed costs."""

    name: str

    def shares(self, telemetry: Tensor) -> Tensor:
        """Shares (N, R) of telemetry (N, R, features), each row summing to 1 at most."""


class Even:
    """The same for every region."""

    name = "even"

    def shares(self, telemetry: Tensor) -> Tensor:
        """1 / R each."""
        return torch.full(telemetry.shape[:2], 1 / telemetry.shape[1], dtype=torch.float64, device=telemetry.device)


class ByNeed:
    """In proportion to measured growth pressure: how much the seeds of a region do, times the room it has for more.

    A seed's pressure is the larger of its utilisation and its gradient norm over the host's: one is known once it is
    blended in, the other while it trains. The region's is the mean over its seeds and one imagined seed of pressure
    `PRIOR`, so that a region where nothing was tried yet is neither starved nor favoured.
    """

    name = "by-need"

    def shares(self, telemetry: Tensor) -> Tensor:
        """Pressure times free slots, over the sum of it; even where no region has any."""
        seen = torch.maximum(telemetry[..., _UTILISATION], telemetry[..., _GRADIENT]).clamp(0.0, 1.0)
        seeds = telemetry[..., _SEEDS] * MOST_SLOTS
        need = (PRIOR + seen * seeds) / (1 + seeds) * telemetry[..., _FREE]
        total = need.sum(1, keepdim=True)
        return torch.where(total > 0, need / total.clamp_min(1e-12), 1 / telemetry.shape[1])
