"""What habits of growth came to on training levels, kept so that it can be priced again under other weights.

Playing takes minutes to hours, pricing milliseconds. A habit is the plateau heuristic with fixed settings, so only one
weight has a say in what it comes to: a seed may be kept when its gain exceeds the price of its parameters. Everything
is therefore played at several prices at that gate, and priced at what it was played nearest to (`at`). The test split
is not kept at all, so that nothing can be tuned on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tamiyo_runtime.contracts.document import require
from tamiyo_train.config import Episode, Prices
from tamiyo_train.policy.lane_deciders import Habit, Kasminas
from tamiyo_train.policy.levels import FAMILIES, OFFERS, TAUGHT
from tamiyo_train.policy.rollout import drawn_lanes, repeated, roll
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes, Result, Seen
from tamiyo_train.population.reward import utilities

Tensor = torch.Tensor
FIRST_INIT, INITS = 10_000, 64
"""Seeds of host weights that may be learned from: no policy is judged on any of them."""
GATES = (0.1, 1.0, 10.0)
"""Prices at the gate, over the shipped price of parameters."""
_EPISODES = ("level", "draw", "budget", "host", "accuracy", "cost", "events", "training_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """E episodes, each played by all H habits with the same task, host weights, batches, device and limits.

    ``levels``: names, "FAMILY LEVEL"; ``level`` (E,): number in ``levels``; ``draw`` (E,): which draw of weights,
    device and limits; ``budget`` and ``host``, cost of the bare host: (E, limits), see `cost_table.LIMITS`; ``cost``
    (E, H, limits); ``accuracy`` on the score split, ``events`` and ``training_ratio``: (E, H). The first habit never
    grows. Raises SchemaError when it does, or when shapes do not agree.
    """

    levels: tuple[str, ...]
    habits: tuple[Habit, ...]
    level: Tensor
    draw: Tensor
    budget: Tensor
    host: Tensor
    accuracy: Tensor
    cost: Tensor
    events: Tensor
    training_ratio: Tensor

    def __post_init__(self) -> None:
        require(len(self.habits) > 0 and self.habits[0].seeds == 0, "habits", "the first must never grow")
        episodes, habits, limits = len(self.level), len(self.habits), len(LIMITS)
        for name in _EPISODES:
            shape: tuple[int, ...] = (episodes,)
            if name in {"budget", "host"}:
                shape = (episodes, limits)
            elif name not in {"level", "draw"}:
                shape = (episodes, habits, limits) if name == "cost" else (episodes, habits)
            found = tuple(getattr(self, name).shape)
            require(found == shape, name, f"must have the shape {shape}, got {found}")

    def __len__(self) -> int:
        return len(self.level)

    @property
    def family(self) -> Tensor:
        """Which of the families, in the order they come up in ``levels``, every episode is of: (E,)."""
        names = [name.rpartition(" ")[0] for name in self.levels]
        order = list(dict.fromkeys(names))
        return torch.tensor([order.index(name) for name in names])[self.level]

    def utilities(self, prices: Prices) -> Tensor:
        """What the reward pays every episode of every habit at these prices, (E, H) float64."""
        count = self.accuracy.numel()
        unknown = torch.full((count,), torch.nan, dtype=torch.float64)
        result = Result(
            accuracy=self.accuracy.flatten(),
            test_accuracy=unknown,
            cost=self.cost.flatten(0, 1),
            events=self.events.flatten(),
            training_macs=unknown,
            training_ratio=self.training_ratio.flatten(),
            fossilised=unknown,
        )
        budget = self.budget.repeat_interleave(len(self.habits), 0)
        return utilities(result, budget, prices).reshape(self.accuracy.shape)

    def rows(self, which: Tensor) -> Outcomes:
        """Some of the episodes."""
        return Outcomes(
            levels=self.levels, habits=self.habits, **{name: getattr(self, name)[which] for name in _EPISODES}
        )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Episodes of all parts, which have the same habits; levels by their names, in the order they come up."""
    require(len({part.habits for part in parts}) == 1, "habits", "must be the same in all parts")
    names = list(dict.fromkeys(name for part in parts for name in part.levels))
    levels = [torch.tensor([names.index(name) for name in part.levels])[part.level] for part in parts]
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in _EPISODES if name != "level"}
    return Outcomes(levels=tuple(names), habits=parts[0].habits, level=torch.cat(levels), **columns)


def at(played: Mapping[float, Outcomes], prices: Prices) -> Outcomes:
    """What was played at the gate nearest to a price of parameters, by ratio."""
    nearest = min(played, key=lambda gate: abs(math.log(gate / max(prices.params, min(played)))))
    return played[nearest]


def habits_to_price(*, every: int = 1) -> tuple[Habit, ...]:
    """Never growing, and first blueprint by number of seeds by (start, intensity); of the latter one in so many."""
    grown = [
        Habit(preferred=kind, seeds=seeds, start=start, intensity=intensity, forward=False)
        for kind in TAUGHT
        for seeds in (1, 3)
        for start, intensity in ((0, 2), (0, 4), (4, 4))
    ]
    return (Habit(seeds=0), *grown[::every])


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All levels of a family with these draws. What a draw holds depends on seed, family and its number alone.

    ``gate``: price of parameters that a seed's gain has to exceed for it to be kept.
    """

    family: str
    draws: tuple[int, ...]
    gate: float
    habits: tuple[Habit, ...]
    episode: Episode
    profiles: tuple[str, ...]
    seed: int
    device: str = "cpu"


def play(job: Job, count: Callable[[int], None]) -> Outcomes:
    """Play every habit through every draw; ``count`` is told the number of decisions so far."""
    family = FAMILIES[job.family]
    env = TensorGrowth(
        family.builder(),
        family.training_data(),
        replace(job.episode, prices=replace(job.episode.prices, params=job.gate)),
        blueprints=OFFERS,
        taught=TAUGHT,
        profiles=job.profiles,
        device=job.device,
    )
    lanes = _all([_drawn(env, job, draw) for draw in job.draws])
    times = len(job.habits)
    deciders = Kasminas(list(job.habits) * len(lanes.init), device=env.device)
    result = roll(env, repeated(lanes, times), _Counted(deciders, count)).result

    def kept(values: Tensor) -> Tensor:
        return values.double().cpu().reshape(len(lanes.init), times, *values.shape[1:])

    return Outcomes(
        levels=tuple(f"{job.family} {level:g}" for level in family.training),
        habits=job.habits,
        level=lanes.task.cpu(),
        draw=torch.tensor(job.draws).repeat_interleave(len(family.training)),
        budget=lanes.budget.cpu(),
        host=env.table.host[lanes.profile.to(env.device)].cpu(),
        accuracy=kept(result.accuracy),
        cost=kept(result.cost),
        events=kept(result.events),
        training_ratio=kept(result.training_ratio),
    )


class _Counted:
    """Decides as another, and says how often it has."""

    def __init__(self, inner: Kasminas, count: Callable[[int], None]) -> None:
        self._inner, self._count, self._decisions = inner, count, 0

    def decide(self, seen: Seen) -> Tensor:
        self._count(self._decisions)
        self._decisions += 1
        return self._inner.decide(seen)


def _drawn(env: TensorGrowth, job: Job, draw: int) -> Lanes:
    rng = np.random.default_rng([job.seed, *job.family.encode(), draw])
    init = FIRST_INIT + draw % INITS
    return drawn_lanes(env, rng, count=len(env.tasks), inits=range(init, init + 1))


def _all(parts: Sequence[Lanes]) -> Lanes:
    return Lanes(
        task=torch.cat([part.task for part in parts]),
        init=[init for part in parts for init in part.init],
        seed=[seed for part in parts for seed in part.seed],
        profile=torch.cat([part.profile for part in parts]),
        budget=torch.cat([part.budget for part in parts]),
    )
