"""The policy network inside regions, and which of them acts: `lanes.RegionalLanes` does the same for many networks.

One operation is carried out a window, so of the regions whose policy would not wait one has to be chosen. One network
looks at all of them, so what it says of one can be compared with what it says of another.
"""

from __future__ import annotations

from enum import Enum, auto

import numpy as np
import torch

from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy.actions import WAIT, Action, Observation, choose, probabilities
from tamiyo_train.policy.network import PolicyNetwork


class Acting(Enum):
    """Which region acts. The benchmark compares them; what grows networks is `PLACE`."""

    TURNS = auto()
    """The next one, in turn, that would not wait."""
    SUREST = auto()
    """The one with the least probability of WAIT, the first of several."""
    PLACE = auto()
    """The surest says what to do; of the regions that would do that, the one whose slot has the largest logit: the slot
    that the policy would choose among all of them if it looked at all at once."""


class RegionalPolicy:
    """A decider by `Acting.PLACE`: the policy looks at each region by itself, and one of them acts."""

    name = "policy"

    def __init__(self, network: PolicyNetwork, *, slots: int) -> None:
        """``slots``: of the widest region."""
        self._network = network.with_slots(slots)

    def decide(self, observation: Observation) -> Action:
        """The likeliest action of one region; WAIT where all of them wait."""
        heads, where = self._network.heads, self._network.heads.slices()
        vectors = torch.from_numpy(np.stack([inside.vector for inside in observation.inside]))
        with torch.no_grad():
            outputs = self._network(vectors).numpy()
        wanted: list[tuple[Action, float, float]] = []
        for inside, output in zip(observation.inside, outputs, strict=True):
            action = choose(output, inside.masks, heads)
            if action.operation is Operation.WAIT:
                continue
            doubt = probabilities(output[where["operation"]], inside.masks.operation)[Operation.WAIT]
            place = output[where["slot"]].reshape(len(Operation), heads.slots)[action.operation, action.slot]
            moved = Action(
                operation=action.operation,
                slot=inside.start + action.slot,
                blueprint=action.blueprint,
                intensity=action.intensity,
            )
            wanted.append((moved, float(doubt), float(place)))
        if not wanted:
            return WAIT
        surest = min(wanted, key=lambda each: each[1])[0].operation
        return max((each for each in wanted if each[0].operation is surest), key=lambda each: each[2])[0]
