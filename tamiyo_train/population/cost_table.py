"""What seeds add to a host's cost on every profile, worked out once, so that masks and prices are sums of look-ups.

Parameters, MACs, latency and energy of seeds add up, and memory is all weights and the largest live activations: sets
of seeds need no table of their own, whatever the number of slots. Where a profile does not add up, its accelerator's
cache being too small for the weights, the table refuses to be made.

A lane's seeds are a row of codes, 0 for an empty slot and k for ``blueprints[k - 1]``. What nobody knows, latency and
energy without a profile, costs nothing and has no limit: used / limit is then 0 / infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train import charges
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.costs import footprint_in
from tamiyo_train.footprint import Layer
from tamiyo_train.hosts import Host
from tamiyo_train.pricing import GrowthBudget, Priced, Pricer

Tensor = torch.Tensor
LIMITS = ("params", "macs", "latency_ms", "energy_uj", "memory_bytes")
"""Columns of costs and of budgets."""
_PARAMS, _MEMORY = LIMITS.index("params"), LIMITS.index("memory_bytes")
_SLACK = 1e-9
"""Relative difference that rounding may leave between a sum and the price of a whole network."""
PROFILE_FEATURES = ("profile_log10_macs_per_ms", "profile_log10_dispatch_us", "profile_log10_active_mw")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """P profiles, S slots, K = 1 + blueprints codes.

    ``host`` (P, limits): the bare host; ``parts`` (P, S, K, limits): what a seed adds to it, under memory its live
    activations; ``host_live`` (P,): those of the host. ``seed_latency`` (P, S, K), ms; ``seed_params`` and
    ``seed_macs`` (S, K); ``seed_tolls`` (4, S, K), see `charges`; ``features`` (P, profile features). float64, but
    int64 for the counts of seeds.
    """

    host: Tensor
    parts: Tensor
    host_live: Tensor
    seed_latency: Tensor
    seed_params: Tensor
    seed_macs: Tensor
    seed_tolls: Tensor
    features: Tensor

    @staticmethod
    def of(
        host: Host, blueprints: Sequence[Blueprint], profiles: Sequence[str | None], *, device: str = "cpu"
    ) -> CostTable:
        """Price the blueprints in the host's slots; raises IncompatibleError where costs do not add up."""
        options: list[Blueprint | None] = [None, *blueprints]
        pricers = [Pricer(profile) for profile in profiles]
        each = [[footprint_in(b.layers, place) if b else None for b in options] for place in host.places]
        slots = range(host.slots)

        def alone(pricer: Pricer, slot: int, blueprint: Blueprint | None) -> float:
            if blueprint is None:
                return 0.0
            return pricer.price([blueprint.layers(host.places[slot])]).latency_ms or 0.0

        def grown(pricer: Pricer, slot: int, blueprint: Blueprint | None) -> Priced:
            return pricer.price(_chain(host, [blueprint if other == slot else None for other in slots]))

        def table(values: object, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        bare = [pricer.price(host.layers) for pricer in pricers]
        made = CostTable(
            host=table([cost_row(cost) for cost in bare]),
            parts=table(
                [
                    [[_part(grown(p, slot, b), cost) for b in options] for slot in slots]
                    for p, cost in zip(pricers, bare, strict=True)
                ]
            ),
            host_live=table([_live(cost) for cost in bare]),
            seed_latency=table([[[alone(p, slot, b) for b in options] for slot in slots] for p in pricers]),
            seed_params=table([[0 if f is None else f.params for f in row] for row in each], torch.int64),
            seed_macs=table([[0 if f is None else f.macs for f in row] for row in each], torch.int64),
            seed_tolls=table(
                [[charges.toll(b.layers(place) if b else ()) for b in options] for place in host.places], torch.int64
            ).movedim(2, 0),
            features=table([[p.features.get(name, 0.0) for name in PROFILE_FEATURES] for p in pricers]),
        )
        made._check(host, options, pricers)
        return made

    def of_lanes(self, profile: Tensor, codes: Tensor) -> Tensor:
        """Cost of each lane's network, (..., limits), by profile (N,) and codes (..., N, S)."""
        slots = torch.arange(codes.shape[-1], device=codes.device)
        added = self.parts[profile[:, None], slots, codes]
        cost = self.host[profile] + added.sum(-2)
        cost[..., _MEMORY] = cost[..., _PARAMS] + torch.maximum(self.host_live[profile], added[..., _MEMORY].amax(-1))
        return cost

    def _check(self, host: Host, options: Sequence[Blueprint | None], pricers: Sequence[Pricer]) -> None:
        """Hold the sums against prices of whole networks: every slot the same, and slots in turn."""
        codes = [[code] * host.slots for code in range(len(options))]
        codes.append([slot % len(options) for slot in range(host.slots)])
        for number, pricer in enumerate(pricers):
            for row in codes:
                chain = _chain(host, [options[code] for code in row])
                whole = torch.tensor(cost_row(pricer.price(chain)), dtype=torch.float64)
                at = torch.tensor([row], device=self.host.device)
                own = torch.tensor([number], device=self.host.device)
                if not torch.allclose(self.of_lanes(own, at)[0].cpu(), whole, rtol=_SLACK, atol=0.0):
                    raise IncompatibleError(
                        f"on profile '{pricer.profile_id}' costs of seeds in host '{host.name}' do not add up",
                        hint="a population adds up what seeds cost alone; grow with `tamiyo train`, one at a time",
                    )


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


def cost_row(cost: Priced) -> tuple[float, ...]:
    return tuple(float(getattr(cost, name) or 0.0) for name in LIMITS)


def _live(cost: Priced) -> float:
    """Live activations of a network, bytes: a weight takes one in int8."""
    return float(cost.memory_bytes - cost.params)


def _part(grown: Priced, bare: Priced) -> tuple[float, ...]:
    """What a seed adds to the bare host, the live activations of both in place of memory."""
    pairs = zip(cost_row(grown)[:_MEMORY], cost_row(bare)[:_MEMORY], strict=True)
    return (*(after - before for after, before in pairs), _live(grown))
