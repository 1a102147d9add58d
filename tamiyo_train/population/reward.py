"""What an episode of every lane was worth, and how that worth is spread over its decisions.

The return of an episode is its utility (`pricing.utility`) and nothing else. Shaping is a difference of potentials:
phi is ``shaping`` times the mean probability of the right class on the gate split, less what it was at the start, and 0
at the end. It sums to nought over any episode, so it moves credit to the window that earned it and changes no optimum
(Ng, Harada and Russell 1999): waiting through an episode returns exactly what the bare host is worth.
"""

from __future__ import annotations

import torch

from tamiyo_train.config import Prices
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.population.growth_state import Result

Tensor = torch.Tensor
SHAPING = 0.5
_PARAMS, _LATENCY, _ENERGY = (LIMITS.index(name) for name in ("params", "latency_ms", "energy_uj"))


def utilities(result: Result, budget: Tensor, prices: Prices) -> Tensor:
    """`pricing.utility` of every lane, (N,) float64; ``budget`` (N, limits)."""
    used = result.cost / budget
    excess = (used - 1).clamp_min(0.0)
    return (
        result.accuracy
        - prices.params * (1 + used[:, _PARAMS]).log2()
        - prices.energy * excess[:, _ENERGY]
        - prices.latency * excess[:, _LATENCY]
        - prices.safety_event * result.events.double()
        - prices.training_macs * (result.training_ratio - 1).clamp_min(0.0)
    )


def rewards(utility: Tensor, sureness: Tensor, *, shaping: float = SHAPING) -> Tensor:
    """Rewards of T decisions, (T, N), that sum to the utility (N,); ``sureness`` (T, N): before each decision."""
    potential = shaping * (sureness - sureness[:1])
    shaped = torch.diff(potential, dim=0, append=torch.zeros_like(potential[:1]))
    shaped[-1] += utility
    return shaped
