"""Everything a window of steps needs that is not a weight, worked out in advance for all lanes.

Which samples are drawn, which seeds take part, how far they are blended in, how large each group's step is: none of it
depends on what the steps compute. The loop itself is then tensor code alone, which a CUDA graph can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.lifecycle import State
from tamiyo_train.population.adam import BETAS
from tamiyo_train.population.lanes import Lane
from tamiyo_train.seed import cosine_ramp
from tamiyo_train.trainer import BACKWARD_FACTOR, BLENDED, SEED_WARMUP_STEPS

Array = NDArray[np.float64]
_BLENDING_RATES = (0.5, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """W steps of N lanes with S slots and F families; G = 1 + S groups, the host first.

    ``rows`` (W, N, B): variant * samples + sample. ``alphas`` and ``held`` (W, F, N, S, 1, 1): blending factors of the
    step and of the held pass. ``training`` (W, N, S, 1) bool. The rest (W, N, G, 1): the coefficients of Adam.
    """

    rows: torch.Tensor
    alphas: torch.Tensor
    held: torch.Tensor
    training: torch.Tensor
    step_size: torch.Tensor
    root_correction: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor

    def copied(self, device: torch.device) -> Plan:
        """A copy of this plan on a device."""
        return Plan(**{field.name: getattr(self, field.name).to(device, copy=True) for field in fields(self)})

    def copy_(self, other: Plan) -> None:
        """Overwrite this plan's tensors in place, as a captured graph needs."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name), non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What is static about a plan: slots that hold a seed in some lane, and those where one is in training."""

    steps: int
    slots: tuple[int, ...]
    training: tuple[int, ...]


def plan_window(
    lanes: Sequence[Lane | None],
    steps: int,
    *,
    config: Episode,
    data: Tensors,
    rates: Array,
    families: int,
    macs: int,
    waiting: Mapping[int, Sequence[int]],
) -> tuple[Plan, Outline]:
    """Plan the next ``steps`` of every lane and advance the lanes' bookkeeping to their end.

    A lane that is None or at its horizon rests; one that reaches it earlier than the others rests from there on.
    ``rates``: see `rate_table`; ``macs``: of the bare host, a sample; ``waiting``: slots by lane whose blending factor
    must not rise in this window.
    """
    slots = next(len(lane.lives) for lane in lanes if lane is not None)
    shape = (steps, len(lanes), slots)
    rows = torch.zeros(steps, len(lanes), config.batch, dtype=torch.int64)
    alphas, held, training, rate = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape)
    host_rate, taking = np.zeros(shape[:2]), np.zeros(shape[:2], dtype=bool)
    counts = np.zeros((len(lanes), 1 + slots))
    family = np.zeros((families, len(lanes), slots), dtype=bool)
    for number, lane in enumerate(lanes):
        if lane is None:
            continue
        own = min(steps, config.total_steps - lane.step_index)
        if own <= 0:
            continue
        rows[:own, number] = _drawn_rows(lane, own, config, data)
        host_rate[:own, number] = lane.learning_rate * rates[lane.step_index : lane.step_index + own]
        taking[:own, number] = True
        counts[number, 0] = lane.updates
        present = np.zeros((own, slots))
        for slot, seed in enumerate(lane.seeds):
            if seed is None:
                continue
            counts[number, 1 + slot] = seed.updates
            family[seed.family, number, slot] = True
            if lane.lives[slot].state is State.BLENDING and slot not in waiting.get(number, ()):
                present[:, slot] = _ramp(lane, slot, own, config)
            else:
                present[:, slot] = seed.alpha
            training[:own, number, slot] = lane.lives[slot].state is State.TRAINING
            age = lane.step_index + np.arange(own) - seed.born_step
            rate[:own, number, slot] = seed.rate * np.minimum(1.0, (age + 1) / SEED_WARMUP_STEPS)
        alphas[:own, number] = present * _kept(lane, own, config)
        held[:own, number] = np.where(training[:own, number], 1.0, present)
        lane.training_macs += BACKWARD_FACTOR * config.batch * _work(lane, present, macs)
        lane.step_index += own
    active = np.concatenate([taking[:, :, None], (alphas > 0) | training], 2)
    updates = counts + np.cumsum(active, 0)
    for number, lane in enumerate(lanes):
        if lane is not None:
            _count(lane, updates[-1, number])
    group_rates = host_rate[:, :, None] * np.concatenate([np.ones((*shape[:2], 1)), rate], 2)
    dtype = data.variants.dtype

    def tensor(array: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)

    def by_family(array: Array) -> torch.Tensor:
        return tensor((array[:, None] * family)[..., None, None])

    plan = Plan(
        rows=rows,
        alphas=by_family(alphas),
        held=by_family(held),
        training=torch.from_numpy(training[..., None]),
        **{name: tensor(array[..., None]) for name, array in coefficients(group_rates, updates, active).items()},
    )
    seeded = family.any((0, 1))
    outline = Outline(
        steps=steps,
        slots=tuple(np.flatnonzero(seeded).tolist()),
        training=tuple(np.flatnonzero(training.any((0, 1))).tolist()),
    )
    return plan, outline


def coefficients(rates: Array, updates: Array, active: NDArray[np.bool_]) -> dict[str, Array]:
    """Adam's numbers a group and step: all nought where a group is not active, which leaves it as it is."""
    counted = np.maximum(updates, 1)
    return {
        "step_size": np.where(active, rates / (1 - BETAS[0] ** counted), 0.0),
        "root_correction": 1 / np.sqrt(1 - BETAS[1] ** counted),
        "first": np.where(active, 1 - BETAS[0], 0.0),
        "second": np.where(active, 1 - BETAS[1], 0.0),
    }


def rate_table(config: Episode) -> Array:
    """`Trainer.learning_rate` at every step of an episode, over the episode's own: (total_steps,)."""
    steps = np.arange(config.total_steps, dtype=np.float64)
    warm = max(1, round(config.warmup_share * config.steps))
    floor = config.consolidation_rate if config.consolidation_steps else 0.0
    growing = _cosine((steps - warm) / max(1, config.steps - warm), floor)
    settling = config.consolidation_rate * _cosine((steps - config.steps) / max(1, config.consolidation_steps), 0.0)
    return np.select([steps >= config.steps, steps < warm], [settling, (steps + 1) / warm], growing)


def _drawn_rows(lane: Lane, steps: int, config: Episode, data: Tensors) -> torch.Tensor:
    """What `Tensors.batch` draws in as many calls, as indices into all variants one after the other."""
    made, samples, size = lane.generators["batches"], len(data.train_y), config.batch
    if len(data.variants) == 1:
        return torch.randint(samples, (steps, size), generator=made)  # one block draws what the calls would
    drawn = []
    for _ in range(steps):
        rows = torch.randint(samples, (size,), generator=made)
        variants = torch.randint(len(data.variants), (size,), generator=made)
        plain = torch.rand(size, generator=made) < 0.5
        drawn.append(torch.where(plain, data.still, variants) * samples + rows)
    return torch.stack(drawn)


def _cosine(progress: Array, floor: float) -> Array:
    falling: Array = floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * np.clip(progress, 0.0, 1.0)))
    return falling


def _work(lane: Lane, present: Array, macs: int) -> int:
    """Multiply-accumulates of the steps with these blending factors (W, S), a sample. See `Trainer._account`."""
    own = np.array([0 if seed is None else seed.macs for seed in lane.seeds])
    done = macs * len(present) + int(((present > 0) @ own).sum())
    training = list(lane.slots_in(State.TRAINING))
    return 2 * done + int(own[training].sum()) * len(present) if training else done


def _ramp(lane: Lane, slot: int, steps: int, config: Episode) -> Array:
    """Blending factors of the next steps; the seed is left where the last one finds it. See `Gardener.raise_alphas`."""
    seed = lane.seed_at(slot)
    low, high = _BLENDING_RATES
    rise = 1 / max(1.0, config.blend_windows * config.window / min(max(seed.rate, low), high))
    positions = np.minimum(1.0, np.cumsum([seed.blend_position, *[rise] * steps])[1:])
    factors = np.array([cosine_ramp(float(position)) for position in positions])
    seed.blend_position, seed.alpha = float(positions[-1]), float(factors[-1])
    return factors


def _kept(lane: Lane, steps: int, config: Episode) -> Array:
    """1 where a seed takes part in a step, 0 where gate dropout leaves it out. See `Trainer._drawn_alphas`."""
    slots = len(lane.lives)
    drawn = torch.rand(steps, 1 + slots, generator=lane.generators["gates"])
    consolidating = torch.arange(lane.step_index, lane.step_index + steps) >= config.steps
    dropout = torch.where(consolidating, config.consolidation_dropout, config.gate_dropout)
    out = (drawn[:, :1] < dropout[:, None]) & (drawn[:, 1:] >= 0.5)
    droppable = torch.zeros(slots, dtype=torch.bool)
    droppable[list(lane.slots_in(*BLENDED))] = True
    kept: Array = (~(out & droppable)).numpy().astype(np.float64)
    return kept


def _count(lane: Lane, updates: Array) -> None:
    lane.updates = int(updates[0])
    for slot, seed in enumerate(lane.seeds):
        if seed is not None:
            seed.updates = int(updates[1 + slot])
