"""Actions, what is allowed, and the factorised distribution over them.

p(action) = p(operation) p(slot | operation) p(blueprint | slot) p(intensity | blueprint); WAIT needs no slot, and only
GERMINATE needs a blueprint and an intensity. Each factor is a softmax over what its mask allows, so an illegal action
has probability 0, and since WAIT is always legal no factor is ever empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.observation import INTENSITIES, Heads, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What to do at a decision. ``blueprint`` and ``intensity`` are indices and mean something to GERMINATE only."""

    operation: Operation
    slot: int = 0
    blueprint: int = 0
    intensity: int = 0


WAIT = Action(operation=Operation.WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """What is allowed. ``slot``: (operations, S) bool, row by row of `Operation`; ``blueprint``: (S, B) bool.

    ``params``: (S, B) int64, parameters each blueprint would add in each slot, for deciders that weigh size; None where
    nobody counted them. Built from slot states and computed costs, never from learned heads.
    """

    slot: NDArray[np.bool_]
    blueprint: NDArray[np.bool_]
    params: NDArray[np.int64] | None = None

    @property
    def operation(self) -> NDArray[np.bool_]:
        """(operations,) bool: WAIT always, the others where a slot allows them."""
        allowed: NDArray[np.bool_] = np.asarray(self.slot.any(axis=1))
        allowed[Operation.WAIT] = True
        return allowed

    def allows(self, action: Action) -> bool:
        """Whether the action is legal."""
        if action.operation is Operation.WAIT:
            return True
        if not self.slot[action.operation, action.slot]:
            return False
        if action.operation is not Operation.GERMINATE:
            return True
        return bool(self.blueprint[action.slot, action.blueprint]) and 0 <= action.intensity < len(INTENSITIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What is shown of one region of a host: as `Observation`, slot 0 being number ``start`` of the host."""

    start: int
    vector: NDArray[np.float32]
    masks: Masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a decider is shown: the vector of `contracts.observation`, and the masks.

    ``inside``: the same of each region of a host whose budget is split over regions; see `tamiyo_train.regions`.
    """

    vector: NDArray[np.float32]
    masks: Masks
    inside: tuple[Inside, ...] = ()


class Decider(Protocol):
    """Anything that makes decisions in a growth episode."""

    name: str

    def decide(self, observation: Observation) -> Action:
        """A legal action."""


def probabilities(logits: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Softmax over what the mask allows; 0 elsewhere."""
    allowed = np.where(mask, logits.astype(np.float64), -np.inf)
    weights = np.exp(allowed - allowed.max())
    return np.asarray(weights / weights.sum())


def choose(output: NDArray[np.float32], masks: Masks, heads: Heads, rng: np.random.Generator | None = None) -> Action:
    """The most likely action factor by factor, or a sample when a generator is given. ``output``: (heads.size,)."""
    where, shapes = heads.slices(), heads.shapes()

    def head(name: str) -> NDArray[np.float32]:
        return output[where[name]].reshape(shapes[name])

    def pick(logits: NDArray[np.float32], mask: NDArray[np.bool_]) -> int:
        p = probabilities(logits, mask)
        return int(p.argmax()) if rng is None else int(rng.choice(len(p), p=p))

    operation = Operation(pick(head("operation"), masks.operation))
    if operation is Operation.WAIT:
        return WAIT
    slot = pick(head("slot")[operation], masks.slot[operation])
    if operation is not Operation.GERMINATE:
        return Action(operation=operation, slot=slot)
    blueprint = pick(head("blueprint")[slot], masks.blueprint[slot])
    intensity = pick(head("intensity")[blueprint], np.ones(len(INTENSITIES), dtype=np.bool_))
    return Action(operation=operation, slot=slot, blueprint=blueprint, intensity=intensity)
