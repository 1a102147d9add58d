"""The learned policy held to less training: newborns that earn nothing go, and none comes too late to be kept.

A seed in training costs a held pass a step and is worth nothing to anybody until it is blended in. What is held back
here is that alone: the policy is asked as ever, and its choice stands unless it would wait or germinate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES, Operation
from tamiyo_train.policy.lane_deciders import LaneDecider
from tamiyo_train.population.growth_state import Seen

Tensor = torch.Tensor
_GLOBALS, _PER_SLOT = len(GLOBAL_FEATURES), len(SLOT_FEATURES)
_TRAINING, _AGE = SLOT_FEATURES.index("is_training"), SLOT_FEATURES.index("age")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thrift:
    """``patience``: windows after which a newborn that may not be advanced is pruned, where the decider would wait;
    ``until``: the first decision, from 0, at which nothing is germinated any more.
    """

    patience: int
    until: int


class Thrifty:
    """Asks ``decider``, for one batch of episodes of ``decisions`` decisions."""

    def __init__(self, decider: LaneDecider, thrift: Thrift, *, decisions: int) -> None:
        self._decider, self._until = decider, thrift.until
        self._age = (thrift.patience - 0.5) / decisions
        self._decision = 0

    def decide(self, seen: Seen) -> Tensor:
        """Legal actions."""
        if self._decision >= self._until:
            allowed = seen.slot_mask.clone()
            allowed[:, Operation.GERMINATE] = False
            seen = replace(seen, slot_mask=allowed)
        self._decision += 1
        actions = self._decider.decide(seen).clone()
        slots = seen.slot_mask.shape[2]
        features = seen.vector[:, _GLOBALS:].reshape(-1, slots, _PER_SLOT)
        idle = (
            (features[..., _TRAINING] > 0) & (features[..., _AGE] > self._age) & ~seen.slot_mask[:, Operation.ADVANCE]
        )
        prunes = idle.any(1) & (actions[:, 0] == Operation.WAIT)
        actions[:, 0] = torch.where(prunes, int(Operation.PRUNE), actions[:, 0])
        actions[:, 1] = torch.where(prunes, idle.int().argmax(1), actions[:, 1])
        return actions
