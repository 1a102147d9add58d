"""Keeps the accounts of a growing network's regions: splits what is left of its budget, and says what each may hold.

A host that is not divided has no accounts: everything is then allowed that the budget itself allows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tamiyo_runtime.contracts.observation import observation_size
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.policy.actions import Inside, Masks
from tamiyo_train.population.cost_table import LIMITS, budget_row, cost_row
from tamiyo_train.pricing import GrowthBudget, Pricer
from tamiyo_train.regions.accounts import fair, limits_of
from tamiyo_train.regions.allocators import Allocator
from tamiyo_train.regions.division import Region, divided, widest
from tamiyo_train.regions.telemetry import pooled, views
from tamiyo_train.seed import GrownNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split as it is audited: share and limit of every region, by whom."""

    allocator: str
    regions: tuple[Region, ...]
    shares: tuple[float, ...]
    accounts: tuple[GrowthBudget, ...]

    def to_audit(self) -> dict[str, object]:
        """Plain data: figures as text, so that the log reads the same everywhere."""
        return {
            "allocator": self.allocator,
            "regions": [str(region) for region in self.regions],
            "shares": [f"{share:.4f}" for share in self.shares],
            "params": [str(account.params) for account in self.accounts],
            "macs": [str(account.macs) for account in self.accounts],
        }


class Steward:
    """Accounts of a network's regions under one budget; with no allocator, or on a small host, there are none."""

    def __init__(
        self, network: GrownNetwork, *, pricer: Pricer, budget: GrowthBudget, allocator: Allocator | None
    ) -> None:
        self.network, self.pricer, self.budget, self.allocator = network, pricer, budget, allocator
        self.regions: tuple[Region, ...] = () if allocator is None else divided(network.host.slots)
        self.accounts: tuple[GrowthBudget, ...] = ()

    def split(self, vector: NDArray[np.float32]) -> Split | None:
        """Have the allocator split what is left, given an observation of the whole network; None without regions."""
        if self.allocator is None or not self.regions:
            return None
        budget, own = self._budget(), self._own()
        host = torch.tensor([cost_row(self.pricer.price(self.network.host.layers))], dtype=torch.float64)
        cost = torch.tensor([cost_row(self.pricer.price(self.network.graphs()))], dtype=torch.float64)
        telemetry = pooled(torch.from_numpy(vector)[None], self.regions, budget=budget, host=host, own=own)
        shares = fair(self.allocator.shares(telemetry))
        limits = limits_of(budget, cost=cost, own=own, shares=shares)[0]
        self.accounts = tuple(_account(row) for row in limits.tolist())
        return Split(
            allocator=self.allocator.name,
            regions=self.regions,
            shares=tuple(shares[0].tolist()),
            accounts=self.accounts,
        )

    def allows(self, slot: int, blueprint: Blueprint) -> bool:
        """Whether the region of a slot would be within its account with that blueprint there."""
        number = self.region_of(slot)
        if number is None:
            return True
        graphs = self.network.graphs(extra=(slot, blueprint), only=self._members(number))
        return self.accounts[number].allows(self.pricer.price(graphs))

    def region_of(self, slot: int) -> int | None:
        """Number of the region a slot lies in, by the outermost seed around it; None without any, or not open."""
        if self.network.place(slot) is None:
            return None
        outermost = (slot, *self.network.ancestors(slot))[-1]
        return next((number for number, region in enumerate(self.regions) if outermost in region.slots), None)

    def inside(self, vector: NDArray[np.float32], masks: Masks) -> tuple[Inside, ...]:
        """What a decider sees of each region: of the host's slots, and as if the region were all there is."""
        if not self.regions:
            return ()
        network, slots = self.network, self.network.host.slots
        without = []
        for slot in range(slots):
            number = self.region_of(slot)
            assert number is not None, "regions hold all slots of the host"
            others = [member for member in self._members(number) if (member, *network.ancestors(member))[-1] != slot]
            without.append(cost_row(self.pricer.price(network.graphs(only=others))))
        size = observation_size(slots)  # slots inside seeds come last
        found = views(
            torch.from_numpy(vector[:size])[None],
            self.regions,
            own=self._own(),
            limits=torch.tensor([[budget_row(account) for account in self.accounts]], dtype=torch.float64),
            without=torch.tensor([without], dtype=torch.float64),
        )
        return tuple(
            Inside(start=region.start, vector=view[0].numpy(), masks=_padded(masks, region, widest(self.regions)))
            for region, view in zip(self.regions, found, strict=True)
        )

    def _members(self, number: int) -> list[int]:
        return [slot for slot in range(self.network.slots) if self.region_of(slot) == number]

    def _budget(self) -> torch.Tensor:
        return torch.tensor([budget_row(self.budget)], dtype=torch.float64)

    def _own(self) -> torch.Tensor:
        """Cost of the host with each region's seeds alone, (1, R, limits)."""
        numbers = range(len(self.regions))
        rows = [cost_row(self.pricer.price(self.network.graphs(only=self._members(number)))) for number in numbers]
        return torch.tensor([rows], dtype=torch.float64)


def _account(row: Sequence[float]) -> GrowthBudget:
    """Limits as a budget; counts are whole, rounded down."""
    limits = dict(zip(LIMITS, row, strict=True))
    memory = limits["memory_bytes"]
    return GrowthBudget(
        params=math.floor(limits["params"]),
        macs=math.floor(limits["macs"]),
        latency_ms=_known(limits["latency_ms"]),
        energy_uj=_known(limits["energy_uj"]),
        memory_bytes=None if math.isinf(memory) else math.floor(memory),
    )


def _known(limit: float) -> float | None:
    return None if math.isinf(limit) or limit == 0 else limit


def _padded(masks: Masks, region: Region, slots: int) -> Masks:
    """The masks of a region's slots, and nothing allowed in the slots it has fewer than others."""
    where, missing = slice(region.start, region.stop), slots - len(region)
    return Masks(
        slot=np.pad(masks.slot[:, where], ((0, 0), (0, missing))),
        blueprint=np.pad(masks.blueprint[where], ((0, missing), (0, 0))),
        params=None if masks.params is None else np.pad(masks.params[where], ((0, missing), (0, 0))),
    )
