"""What every set of seeds in a host costs on every profile, worked out once, so that masks and prices are look-ups.

A lane's seeds are a row of codes, 0 for an empty slot and k for ``blueprints[k - 1]``. What nobody knows, latency and
energy without a profile, costs nothing and has no limit: used / limit is then 0 / infinity.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.costs import footprint_in
from tamiyo_train.footprint import Layer
from tamiyo_train.hosts import Host
from tamiyo_train.pricing import GrowthBudget, Priced, Pricer

Tensor = torch.Tensor
LIMITS = ("params", "macs", "latency_ms", "energy_uj", "memory_bytes")
"""Columns of costs and of budgets."""
PROFILE_FEATURES = ("profile_log10_macs_per_ms", "profile_log10_dispatch_us", "profile_log10_active_mw")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """P profiles, S slots, K = 1 + blueprints codes.

    ``costs`` (P, K^S, limits) of whole networks; ``seed_latency`` (P, S, K), ms; ``seed_params`` and ``seed_macs``
    (S, K); ``features`` (P, profile features). float64, but int64 for the counts of seeds.
    """

    codes: int
    costs: Tensor
    seed_latency: Tensor
    seed_params: Tensor
    seed_macs: Tensor
    features: Tensor

    @staticmethod
    def of(
        host: Host, blueprints: Sequence[Blueprint], profiles: Sequence[str | None], *, device: str = "cpu"
    ) -> CostTable:
        """Price all sets of the blueprints in the host's slots."""
        options: list[Blueprint | None] = [None, *blueprints]
        pricers = [Pricer(profile) for profile in profiles]
        sets = list(itertools.product(options, repeat=host.slots))
        chains = [_chain(host, chosen) for chosen in sets]
        each = [[footprint_in(b.layers, place) if b else None for b in options] for place in host.places]

        def alone(pricer: Pricer, slot: int, blueprint: Blueprint | None) -> float:
            if blueprint is None:
                return 0.0
            return pricer.price([blueprint.layers(host.places[slot])]).latency_ms or 0.0

        def table(values: object, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        slots = range(host.slots)
        return CostTable(
            codes=len(options),
            costs=table([[_row(pricer.price(chain)) for chain in chains] for pricer in pricers]),
            seed_latency=table([[[alone(p, slot, b) for b in options] for slot in slots] for p in pricers]),
            seed_params=table([[0 if f is None else f.params for f in row] for row in each], torch.int64),
            seed_macs=table([[0 if f is None else f.macs for f in row] for row in each], torch.int64),
            features=table([[p.features.get(name, 0.0) for name in PROFILE_FEATURES] for p in pricers]),
        )

    @property
    def host(self) -> Tensor:
        """Cost of the bare host, (P, limits)."""
        return self.costs[:, 0]

    def of_lanes(self, profile: Tensor, codes: Tensor) -> Tensor:
        """Cost of each lane's network, (..., limits), by profile (N,) and codes (..., N, S)."""
        slots = codes.shape[-1]
        powers = self.codes ** torch.arange(slots - 1, -1, -1, device=codes.device)
        return self.costs[profile, (codes * powers).sum(-1)]


def budget_row(budget: GrowthBudget) -> tuple[float, ...]:
    """A budget as a row of limits, infinity where there is none."""
    return tuple(float("inf") if (limit := getattr(budget, name)) is None else float(limit) for name in LIMITS)


def drawn_budgets(host: Tensor, rng: np.random.Generator) -> Tensor:
    """Limits of N lanes, (N, limits), log-uniform over the costs of their bare hosts ``host`` (N, limits).

    Parameters 1.5 to 24 times the host's, MACs 1.5 to 32, latency 1.2 to 30, energy 1.2 to 8; memory is not limited.
    One latency in ten lies below what the host takes, so that nothing may grow.
    """
    count = len(host)

    def factor(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), count))

    factors = np.stack(
        [factor(1.5, 24), factor(1.5, 32), factor(1.2, 30), factor(1.2, 8), np.full(count, np.inf)], axis=1
    )
    factors[rng.random(count) < 0.1, 2] = 0.9
    drawn = host * torch.from_numpy(factors).to(host.device)
    drawn[:, :2] = drawn[:, :2].round()
    return torch.where(host > 0, drawn, torch.inf)


def _chain(host: Host, chosen: Sequence[Blueprint | None]) -> list[tuple[Layer, ...]]:
    pieces = [host.layers[0]]
    for slot, blueprint in enumerate(chosen):
        pieces += [() if blueprint is None else blueprint.layers(host.places[slot]), host.layers[slot + 1]]
    return [piece for piece in pieces if piece]


def _row(cost: Priced) -> tuple[float, ...]:
    return tuple(float(getattr(cost, name) or 0.0) for name in LIMITS)
