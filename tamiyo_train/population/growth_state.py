"""What lanes of growth episodes hold, are shown and leave: plain tensors with a leading lane axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch

from tamiyo_runtime.contracts.observation import INTENSITIES, Operation

Tensor = torch.Tensor


class Phase(IntEnum):
    """States of the life cycle that outlast a decision; the others pass within one."""

    DORMANT = 0
    TRAINING = 1
    BLENDING = 2
    PROBATION = 3
    FOSSILISED = 4
    EMBARGOED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """What N lanes are given: number of the ``task``, ``init`` seeds of hosts and newborns, ``seed`` of the batches.

    ``profile``: number of the profile (N,) int64; ``budget``: limits (N, 5), see `cost_table.LIMITS`.
    """

    task: Tensor
    init: Sequence[int]
    seed: Sequence[int]
    profile: Tensor
    budget: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What deciders are shown: ``vector`` (N, size) float32, and `Masks` as tensors with a leading lane axis."""

    vector: Tensor
    slot_mask: Tensor
    blueprint_mask: Tensor
    params: Tensor

    @property
    def operation_mask(self) -> Tensor:
        """(N, operations), see `operations`."""
        return operations(self.slot_mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of N episodes: outcome on the score split, and on the test split, which no decision may use.

    ``cost`` (N, limits) of the committed network; ``events``: panics; ``training_ratio``: training MACs over those of
    the bare host's training.
    """

    accuracy: Tensor
    test_accuracy: Tensor
    cost: Tensor
    events: Tensor
    training_macs: Tensor
    training_ratio: Tensor
    fossilised: Tensor


@dataclass(slots=True)
class Slots:
    """The seeds of N lanes with S slots, (N, S); ``updates`` (N, 1 + S) counts steps of Adam, the host's first."""

    phase: Tensor
    code: Tensor
    family: Tensor
    rate: Tensor
    born: Tensor
    alpha: Tensor
    position: Tensor
    embargo: Tensor
    updates: Tensor

    @staticmethod
    def empty(lanes: int, slots: int, device: torch.device) -> Slots:
        """Nothing planted."""

        def whole(value: int = 0) -> Tensor:
            return torch.full((lanes, slots), value, dtype=torch.int64, device=device)

        def real() -> Tensor:
            return torch.zeros(lanes, slots, dtype=torch.float64, device=device)

        updates = torch.zeros(lanes, 1 + slots, dtype=torch.int64, device=device)
        return Slots(whole(), whole(), whole(-1), real(), whole(), real(), real(), whole(), updates)

    @property
    def live(self) -> Tensor:
        """Seeds that can still be culled."""
        return (self.phase >= Phase.TRAINING) & (self.phase <= Phase.PROBATION)


def operations(slot_mask: Tensor) -> Tensor:
    """What may be done at all, (N, operations): WAIT always, the others where ``slot_mask`` (N, operations, S) allows a
    slot.
    """
    allowed = slot_mask.any(2)
    allowed[:, Operation.WAIT] = True
    return allowed


def legal(actions: Tensor, seen: Seen) -> Tensor:
    """Whether each lane's action is allowed, (N,)."""
    rows = torch.arange(len(actions), device=actions.device)
    operation, slot, blueprint, intensity = actions.unbind(1)
    fits = seen.blueprint_mask[rows, slot, blueprint] & (intensity >= 0) & (intensity < len(INTENSITIES))
    allowed = seen.slot_mask[rows, operation, slot] & (fits | (operation != Operation.GERMINATE))
    return allowed | (operation == Operation.WAIT)
