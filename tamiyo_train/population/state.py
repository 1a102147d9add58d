"""The lanes' bookkeeping as tensors, where planning begins, and back again where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch

from tamiyo_train.config import Episode
from tamiyo_train.lifecycle import State
from tamiyo_train.population.lanes import Lane, Occupant
from tamiyo_train.trainer import BLENDED

Tensor = torch.Tensor
_BLENDING_RATES = (0.5, 2.0)
_EMPTY = -1
"""Family of an empty slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """N lanes at the start of a window, float64, int64 and bool.

    (N,): ``seed`` (its lowest 31 bits), ``step``, ``own`` (steps until the horizon), ``learning_rate``. (N, 1 + S):
    ``updates`` of Adam. (N, S): ``family``, ``born``, ``rate``, ``alpha``, ``position`` on the ramp and its
    ``rise`` a step; whether the seed is ``rising``, in ``training``, or ``droppable`` by gate dropout. ``tolls``
    (4, N, S): see `charges`.
    """

    seed: Tensor
    step: Tensor
    own: Tensor
    learning_rate: Tensor
    updates: Tensor
    family: Tensor
    born: Tensor
    rate: Tensor
    tolls: Tensor
    alpha: Tensor
    position: Tensor
    rise: Tensor
    rising: Tensor
    training: Tensor
    droppable: Tensor

    def to(self, device: torch.device) -> Start:
        """The same on a device."""
        return Start(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def read_lanes(lanes: Sequence[Lane | None], config: Episode, waiting: Mapping[int, Sequence[int]]) -> Start:
    """The lanes as they are; see `plan.plan_window`. An empty lane is one at its horizon."""
    slots = next((len(lane.lives) for lane in lanes if lane is not None), 0)
    alone = (0, config.total_steps, 0.0, [0] * (1 + slots))
    heads: list[tuple[int, int, float, list[int]]] = []
    rows: list[list[tuple[float, ...]]] = []
    for number, lane in enumerate(lanes):
        if lane is None:
            heads.append(alone)
            rows.append([_NOBODY] * slots)
            continue
        updates = [lane.updates, *(0 if seed is None else seed.updates for seed in lane.seeds)]
        heads.append((lane.seed & 0x7FFFFFFF, lane.step_index, lane.learning_rate, updates))
        held_back = waiting.get(number, ())
        rows.append(
            [
                _NOBODY if seed is None else _row(seed, life.state, config, rises=slot not in held_back)
                for slot, (seed, life) in enumerate(zip(lane.seeds, lane.lives, strict=True))
            ]
        )
    seeds, steps, learning_rates, updates_of = zip(*heads, strict=True)
    table = torch.tensor(rows, dtype=torch.float64).movedim(2, 0)
    family, born = (table[column].long() for column in (0, 1))
    rising, training, droppable = (table[column] > 0 for column in (6, 7, 8))
    step = torch.tensor(steps)
    return Start(
        seed=torch.tensor(seeds),
        step=step,
        own=config.total_steps - step,
        learning_rate=torch.tensor(learning_rates, dtype=torch.float64),
        updates=torch.tensor(updates_of),
        family=family,
        born=born,
        rate=table[2],
        tolls=table[9:].long(),
        alpha=table[3],
        position=table[4],
        rise=table[5],
        rising=rising,
        training=training,
        droppable=droppable,
    )


def write_lanes(
    lanes: Sequence[Lane | None], *, steps: Tensor, updates: Tensor, alpha: Tensor, position: Tensor, macs: Tensor
) -> None:
    """Advance the bookkeeping to the end of a window; shapes as in `Start`, ``steps`` and ``macs`` (N,) those done."""
    ends = zip(lanes, steps.tolist(), updates.tolist(), alpha.tolist(), position.tolist(), macs.tolist(), strict=True)
    for lane, done, counts, alphas, positions, work in ends:
        if lane is None:
            continue
        lane.step_index += done
        lane.training_macs += work
        lane.updates = counts[0]
        for slot, seed in enumerate(lane.seeds):
            if seed is not None:
                seed.updates = counts[1 + slot]
                seed.alpha, seed.blend_position = alphas[slot], positions[slot]


_NOBODY: tuple[float, ...] = (_EMPTY, 0, 0.0, 0.0, 0.0, 0.0, False, False, False, 0, 0, 0, 0)


def _row(seed: Occupant, state: State, config: Episode, *, rises: bool) -> tuple[float, ...]:
    low, high = _BLENDING_RATES
    return (
        seed.family,
        seed.born_step,
        seed.rate,
        seed.alpha,
        seed.blend_position,
        1 / max(1.0, config.blend_windows * config.window / min(max(seed.rate, low), high)),
        rises and state is State.BLENDING,
        state is State.TRAINING,
        state in BLENDED,
        *seed.toll,
    )
