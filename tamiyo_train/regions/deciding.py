"""The policy network inside regions, for one growing network: what `lanes.RegionalLanes` does for many."""

from __future__ import annotations

import numpy as np
import torch

from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy.actions import WAIT, Action, Observation, choose, probabilities
from tamiyo_train.policy.network import PolicyNetwork


class RegionalPolicy:
    """A decider: the policy looks at each region by itself, and where it is surest that it should act it acts.

    One network looks at all of them, so its doubts can be compared: the region with the least probability of WAIT
    wins, the first of several. Turns would spend windows on regions that have nothing to do while a seed elsewhere
    waits to be taken on.
    """

    name = "policy"

    def __init__(self, network: PolicyNetwork, *, slots: int) -> None:
        """``slots``: of the widest region."""
        self._network = network.with_slots(slots)

    def decide(self, observation: Observation) -> Action:
        """The likeliest action of the surest region; WAIT where all of them wait."""
        heads = self._network.heads
        vectors = torch.from_numpy(np.stack([inside.vector for inside in observation.inside]))
        with torch.no_grad():
            outputs = self._network(vectors).numpy()
        chosen, least = WAIT, 1.0
        for inside, output in zip(observation.inside, outputs, strict=True):
            action = choose(output, inside.masks, heads)
            doubt = float(probabilities(output[heads.slices()["operation"]], inside.masks.operation)[Operation.WAIT])
            if action.operation is not Operation.WAIT and doubt < least:
                chosen, least = (
                    Action(
                        operation=action.operation,
                        slot=inside.start + action.slot,
                        blueprint=action.blueprint,
                        intensity=action.intensity,
                    ),
                    doubt,
                )
        return chosen
