"""The governor of growth: it watches every training step and can take a network back to where it was sound.

It stands outside the policy: no action, no observation and no head of the policy reaches it. Judging is pure;
`Snapshot` holds weights, buffers, optimiser moments, generators and slots, and puts them back bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch

from tamiyo_train.config import Limits
from tamiyo_train.lifecycle import State
from tamiyo_train.seed import Seed

if TYPE_CHECKING:
    from tamiyo_train.trainer import Trainer


class Panic(StrEnum):
    """Why training is taken back."""

    NOT_FINITE = "not_finite"
    LOSS_SPIKE = "loss_spike"
    DRIFT = "drift_critical"
    BUDGET = "budget_breach"
    REGRESSION = "accuracy_regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the governor remembers: the losses of the window, and how many steps on end lay far above it."""

    losses: tuple[float, ...] = ()
    above: int = 0


def judge(
    limits: Limits, watch: Watch, *, loss: float, drift: float = 0.0, within_budget: bool = True
) -> tuple[Watch, Panic | None]:
    """Judge one step; returns what to remember and why to panic, if so.

    A loss far above the window does not enter it, so that a slow explosion cannot raise its own limit.
    """
    if not math.isfinite(loss) or not math.isfinite(drift):
        return watch, Panic.NOT_FINITE
    if not within_budget:
        return watch, Panic.BUDGET
    if drift >= limits.drift_critical:
        return watch, Panic.DRIFT
    if len(watch.losses) >= limits.warm:
        mean = math.fsum(watch.losses) / len(watch.losses)
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in watch.losses) / len(watch.losses))
        if loss > mean + limits.sigmas * max(deviation, limits.sigma_floor):
            above = watch.above + 1
            return replace(watch, above=above), Panic.LOSS_SPIKE if above >= limits.patience else None
    return Watch(losses=(*watch.losses, loss)[-limits.window :]), None


@dataclass(frozen=True, slots=True)
class _Slot:
    state: State
    seed: Seed | None
    tensors: dict[str, torch.Tensor]


class Snapshot:
    """All that training changes, copied. One snapshot can be restored any number of times."""

    def __init__(self, trainer: Trainer) -> None:
        network = trainer.network
        self._step = trainer.step_index
        self._trunk = _copies(network.trunk.state_dict())
        self._slots = [
            _Slot(
                life.state,
                replace(seed) if seed is not None else None,
                _copies(seed.module.state_dict()) if seed is not None else {},
            )
            for life, seed in zip(network.lives, network.seeds, strict=True)
        ]
        self._optimiser = trainer.optimiser_state()
        self._generators = {name: made.get_state().clone() for name, made in trainer.generators.items()}

    def restore(self, trainer: Trainer) -> None:
        """Make the trainer what it was, bit by bit; slots get back the seeds they held, or none."""
        network = trainer.network
        trainer.step_index = self._step
        network.trunk.load_state_dict(self._trunk)
        for slot, saved in enumerate(self._slots):
            network.lives[slot].rewind(saved.state)
            seed = None if saved.seed is None else replace(saved.seed)
            if seed is not None:
                seed.module.load_state_dict(saved.tensors)
            network.plant(slot, seed)
        trainer.load_optimiser_state(self._optimiser)
        for name, state in self._generators.items():
            trainer.generators[name].set_state(state)


def _copies(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
