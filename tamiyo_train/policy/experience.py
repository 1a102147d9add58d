"""What growth episodes leave for the policy to learn from: plain arrays, a row a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_train.env import GrowthEnv, Outcome, WindowReport
from tamiyo_train.policy.actions import Action, Decider, Masks, Observation

DRIFT_RISK = 0.5
"""Drift (95th percentile) a window must reach to count as risky."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """N decisions. ``action``: operation, slot, blueprint, intensity; ``utility``: of the episode each belongs to.

    ``group``: the host the episode grew; outcomes are compared within a group. ``safety``: drift was risky, a rollback
    was needed, a seed was culled in the window after the decision, by the governor, a gate or the decision itself;
    ``hardware``: latency and memory within the budget after it. Both 0 or 1.
    """

    observation: NDArray[np.float32]
    slot_mask: NDArray[np.bool_]
    blueprint_mask: NDArray[np.bool_]
    action: NDArray[np.int64]
    utility: NDArray[np.float32]
    group: NDArray[np.int64]
    safety: NDArray[np.float32]
    hardware: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.action)


def concatenate(parts: Sequence[Experience]) -> Experience:
    """All decisions of all parts, in order."""
    return Experience(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Experience)}
    )


class Recorder:
    """A decider that passes another's decisions on and keeps what it saw."""

    def __init__(self, inner: Decider) -> None:
        self.name = inner.name
        self._inner = inner
        self._observations: list[Observation] = []
        self._actions: list[Action] = []

    @property
    def seen(self) -> tuple[tuple[Observation, Action], ...]:
        """What was shown and what was decided, oldest first."""
        return tuple(zip(self._observations, self._actions, strict=True))

    def replay(self, seen: Sequence[tuple[Observation, Action]]) -> None:
        """Bring a fresh decider to where it had seen all this: it is shown all of it again, and decides the same.

        Raises TamiyoError when it does not: then it is not the decider that was recorded.
        """
        for index, (observation, action) in enumerate(seen):
            if self.decide(observation) != action:
                raise TamiyoError(
                    f"decision {index} comes out differently from what was kept",
                    hint="the decider was changed since; start anew with --overwrite",
                )

    def decide(self, observation: Observation) -> Action:
        """The inner decider's action."""
        action = self._inner.decide(observation)
        self._observations.append(observation)
        self._actions.append(action)
        return action

    def experience(self, windows: Sequence[WindowReport], outcome: Outcome, *, group: int = 0) -> Experience:
        """What was seen, with what came of it."""
        masks: list[Masks] = [observation.masks for observation in self._observations]
        return Experience(
            observation=np.stack([observation.vector for observation in self._observations]),
            slot_mask=np.stack([mask.slot for mask in masks]),
            blueprint_mask=np.stack([mask.blueprint for mask in masks]),
            action=np.asarray([(a.operation, a.slot, a.blueprint, a.intensity) for a in self._actions], dtype=np.int64),
            utility=np.full(len(masks), outcome.utility, dtype=np.float32),
            group=np.full(len(masks), group, dtype=np.int64),
            safety=np.asarray([(w.drift > DRIFT_RISK, w.panics > 0, w.culled > 0) for w in windows], dtype=np.float32),
            hardware=np.asarray([(w.latency_ok, w.memory_ok) for w in windows], dtype=np.float32),
        )


def record(env: GrowthEnv, decider: Decider, *, group: int = 0) -> tuple[Experience, Outcome]:
    """Play an episode to its end and keep what can be learned from it."""
    recorder = Recorder(decider)
    while not env.done:
        env.act(recorder.decide(env.observe()))
    outcome = env.finish()
    return recorder.experience(env.windows, outcome, group=group), outcome
