"""Drawn observations with masks, and fresh policies: what tests of deciders and of learning share."""

from __future__ import annotations

import torch

from tamiyo_runtime.contracts.observation import Heads, Operation, observation_size
from tamiyo_train.policy.actions import Masks, Observation
from tamiyo_train.policy.levels import OFFERS
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.population.growth_state import Seen
from tamiyo_train.seeding import initialising

HEADS = Heads(slots=3, blueprints=len(OFFERS))


def network(seed=0) -> PolicyNetwork:
    with initialising(seed):
        return PolicyNetwork(HEADS).eval()


def drawn_seen(count=64, seed=0) -> Seen:
    rng = torch.Generator().manual_seed(seed)
    blueprint = torch.rand(count, 3, HEADS.blueprints, generator=rng) < 0.4
    slot = torch.rand(count, len(Operation), 3, generator=rng) < 0.4
    slot[:, Operation.WAIT] = False
    slot[:, Operation.GERMINATE] = blueprint.any(2)
    return Seen(
        vector=torch.randn(count, observation_size(3), generator=rng),
        slot_mask=slot,
        blueprint_mask=blueprint,
        params=torch.randint(1, 500, (count, 3, HEADS.blueprints), generator=rng),
    )


def one(seen: Seen, row: int) -> Observation:
    masks = Masks(
        slot=seen.slot_mask[row].numpy(), blueprint=seen.blueprint_mask[row].numpy(), params=seen.params[row].numpy()
    )
    return Observation(vector=seen.vector[row].numpy(), masks=masks)
