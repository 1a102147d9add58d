"""How a budget is inherited and split among seeds that grow in seeds.

    host's slot:   (budget - bare host) / slots of the host
    slot inside:   what the allotment of the seed around it leaves beside that seed's own cost / slots inside it

Every level splits what is left equally, so the children of a seed together never exceed its remainder, whatever any of
them does. A seed in a slot of the host is held by the network's budget alone: its allotment only says what it can
hand on.
"""

from __future__ import annotations

from dataclasses import dataclass

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.footprint import Footprint
from tamiyo_train.pricing import GrowthBudget
from tamiyo_train.seed import GrownNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """Parameters and multiply-accumulates a slot may come to hold."""

    params: int
    macs: int

    def holds(self, cost: Footprint) -> bool:
        """Whether a seed of that cost is within it."""
        return cost.params <= self.params and cost.macs <= self.macs

    def split(self, ways: int, *, used: Footprint) -> Allotment:
        """An equal part of what ``used`` leaves."""
        return Allotment(params=max(0, self.params - used.params) // ways, macs=max(0, self.macs - used.macs) // ways)


def allotment(network: GrownNetwork, budget: GrowthBudget, slot: int) -> Allotment:
    """What a slot that is open may come to hold."""
    if slot < network.host.slots:
        whole = Allotment(params=budget.params, macs=budget.macs)
        return whole.split(network.host.slots, used=network.host.footprint())
    parent = network.ancestors(slot)[0]
    own = Footprint.of(network.layers_at(parent, network.seed_at(parent).blueprint))
    return allotment(network, budget, parent).split(network.rooms(parent), used=own)


def fits_inside(network: GrownNetwork, budget: GrowthBudget, slot: int, blueprint: Blueprint) -> bool:
    """Whether a blueprint fits the allotment of an inner slot; in a slot of the host only the whole budget counts."""
    if slot < network.host.slots:
        return True
    return allotment(network, budget, slot).holds(Footprint.of(network.layers_at(slot, blueprint)))
