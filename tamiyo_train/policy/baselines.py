"""Deciders that are not learned: KasminaMicro, random valid actions, and waiting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, INTENSITIES, SLOT_FEATURES, Operation
from tamiyo_train.policy.actions import WAIT, Action, Masks, Observation

_GLOBAL = {name: index for index, name in enumerate(GLOBAL_FEATURES)}
_SLOT = {name: index for index, name in enumerate(SLOT_FEATURES)}


def slot_feature(observation: Observation, slot: int, name: str) -> float:
    """A feature of one slot, by name."""
    return float(observation.vector[len(GLOBAL_FEATURES) + slot * len(SLOT_FEATURES) + _SLOT[name]])


def global_feature(observation: Observation, name: str) -> float:
    """A global feature, by name."""
    return float(observation.vector[_GLOBAL[name]])


class Waiting:
    """Never grows: the control every other decider is held against."""

    name = "none"

    def decide(self, observation: Observation) -> Action:
        """WAIT."""
        return WAIT


class RandomDecider:
    """Operation, slot, blueprint and intensity drawn from what is allowed, factor by factor.

    Uniformly, but for PRUNE, which is legal whenever anything grows and would undo nearly all of it: it is drawn
    ``PRUNE_WEIGHT`` times as often as each other operation.
    """

    name = "random"
    PRUNE_WEIGHT = 0.1

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def decide(self, observation: Observation) -> Action:
        """A legal action."""
        masks, rng = observation.masks, self._rng
        weights = masks.operation.astype(np.float64)
        weights[Operation.PRUNE] *= self.PRUNE_WEIGHT
        operation = Operation(int(rng.choice(len(weights), p=weights / weights.sum())))
        if operation is Operation.WAIT:
            return WAIT
        slot = int(rng.choice(np.flatnonzero(masks.slot[operation])))
        if operation is not Operation.GERMINATE:
            return Action(operation=operation, slot=slot)
        blueprint = int(rng.choice(np.flatnonzero(masks.blueprint[slot])))
        return Action(
            operation=operation, slot=slot, blueprint=blueprint, intensity=int(rng.integers(len(INTENSITIES)))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KasminaSettings:
    """``patience``: windows without an improvement of ``improvement`` (nats) before a seed is germinated, 0: at once.

    ``order``: slots in the order they are filled, None: the last first; ``preference``: blueprint indices, the first
    that is allowed is taken, None: the dearest that fits, by the parameters it would add in that slot; ``mature``:
    share of the episode a seed trains before it is blended in; ``trial``: share of the episode after which a seed that
    could not be fossilised is pruned.
    """

    patience: int = 1
    improvement: float = 0.15
    order: tuple[int, ...] | None = None
    preference: tuple[int, ...] | None = None
    intensity: int = 2
    mature: float = 0.05
    trial: float = 0.6


class KasminaMicro:
    """The plateau heuristic: grow when the loss has not fallen for a while, keep what proves itself.

    It compares with the best loss so far, not with the last one, so that noise does not reset its patience.
    """

    def __init__(self, settings: KasminaSettings | None = None) -> None:
        self.name = "kasmina"
        self.settings = settings or KasminaSettings()
        self._best = float("inf")
        self._stale = 0

    def decide(self, observation: Observation) -> Action:
        """Fossilise first, then advance, prune, and at last germinate."""
        masks, settings = observation.masks, self.settings
        self._watch(global_feature(observation, "loss_level"))
        for slot in np.flatnonzero(masks.slot[Operation.FOSSILISE]):
            return Action(operation=Operation.FOSSILISE, slot=int(slot))
        for slot in np.flatnonzero(masks.slot[Operation.ADVANCE]):
            if slot_feature(observation, int(slot), "age") >= settings.mature:
                return Action(operation=Operation.ADVANCE, slot=int(slot))
        for slot in np.flatnonzero(masks.slot[Operation.PRUNE]):
            if slot_feature(observation, int(slot), "age") > settings.trial:
                return Action(operation=Operation.PRUNE, slot=int(slot))
        if self._stale >= settings.patience:
            return self._germinate(observation)
        return WAIT

    def _watch(self, loss: float) -> None:
        if loss > 0 and loss < self._best - self.settings.improvement:
            self._best, self._stale = loss, 0
        else:
            self._stale += 1

    def _germinate(self, observation: Observation) -> Action:
        masks, settings = observation.masks, self.settings
        slots = range(masks.slot.shape[1])
        for slot in reversed(slots) if settings.order is None else settings.order:
            if slot not in slots or not masks.slot[Operation.GERMINATE, slot]:
                continue
            for blueprint in dearest_first(masks, slot) if settings.preference is None else settings.preference:
                if blueprint < masks.blueprint.shape[1] and masks.blueprint[slot, blueprint]:
                    self._stale = 0
                    return Action(
                        operation=Operation.GERMINATE, slot=slot, blueprint=blueprint, intensity=settings.intensity
                    )
        return WAIT


def dearest_first(masks: Masks, slot: int) -> list[int]:
    """Blueprints by the parameters they would add in a slot, most first; in their order where that is the same.

    Width is what a narrow host is short of. Without a count of parameters their order is all there is.
    """
    blueprints = range(masks.blueprint.shape[1])
    params = masks.params
    return list(blueprints) if params is None else sorted(blueprints, key=lambda index: -int(params[slot, index]))


def drawn_settings(seed: int, *, slots: int, blueprints: int) -> KasminaSettings:
    """KasminaMicro with settings drawn at random round good ones: the spread of heuristics that a policy learns from.

    Two in three prefer the dearest blueprint that fits, which adds most; the others take them in any order.
    """
    rng = np.random.default_rng(seed)
    dearest = rng.random() < 2 / 3
    preference = None if dearest else tuple(int(index) for index in 1 + rng.permutation(blueprints - 1))
    return KasminaSettings(
        patience=int(rng.choice([0, 0, 0, 0, 1])),
        improvement=float(rng.choice([0.1, 0.3])),
        order=tuple(int(slot) for slot in rng.permutation(slots)),
        preference=preference,
        intensity=int(rng.integers(1, len(INTENSITIES) - 1)),
        mature=float(rng.choice([0.05, 0.05, 0.1])),
        trial=float(rng.choice([0.5, 0.7])),
    )
