"""The bookkeeping of one lane: what `GrownNetwork`, `Trainer` and `Gardener` keep beside their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.lifecycle import LifeCycle, State, Transition
from tamiyo_train.seeding import generator

Audit = Callable[[int, Transition], None]
"""Called with the lane and what happened in it."""


@dataclass(slots=True, kw_only=True)
class Occupant:
    """A seed in a slot of a lane; its weights lie in the population's block.

    ``toll``: multiply-accumulates a sample, see `charges`; ``updates``: steps of Adam it has taken. The rest as in
    `Seed`.
    """

    blueprint: Blueprint
    family: int
    toll: tuple[int, int, int, int]
    rate: float
    born_step: int
    alpha: float = 0.0
    blend_position: float = 0.0
    updates: int = 0
    evidence: tuple[torch.Tensor, ...] = ()


@dataclass(slots=True, kw_only=True)
class Lane:
    """One host in training. ``updates``: steps of Adam its host has taken; ``embargo``: step that ends it, by slot."""

    seed: int
    learning_rate: float
    lives: tuple[LifeCycle, ...]
    seeds: list[Occupant | None]
    generators: dict[str, torch.Generator]
    step_index: int = 0
    updates: int = 0
    training_macs: int = 0
    embargo: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def new(number: int, *, seed: int, learning_rate: float, slots: int, audit: Audit) -> Lane:
        """A lane at step 0; it draws what `Trainer` draws from the same seed."""

        def tell(transition: Transition) -> None:
            audit(number, transition)

        return Lane(
            seed=seed,
            learning_rate=learning_rate,
            lives=tuple(LifeCycle(slot, tell) for slot in range(slots)),
            seeds=[None] * slots,
            generators={name: generator(seed, name) for name in ("batches", "gates")},
        )

    def alphas(self) -> tuple[float, ...]:
        """Present blending factors; 0 where there is no seed."""
        return tuple(0.0 if seed is None else seed.alpha for seed in self.seeds)

    def slots_in(self, *states: State) -> tuple[int, ...]:
        """Slots whose life is in one of the states."""
        return tuple(slot for slot, life in enumerate(self.lives) if life.state in states)

    def seed_at(self, slot: int) -> Occupant:
        """The seed of a slot that is known to hold one."""
        seed = self.seeds[slot]
        assert seed is not None, f"slot {slot} is {self.lives[slot].state} and holds no seed"
        return seed
