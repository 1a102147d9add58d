"""Teachers found by search, and cloning them: behaviour cloning, then DAgger (Ross, Gordon and Bagnell 2011).

A grid of habits of the plateau heuristic is played out on the training levels. The best on average is the tuned
heuristic. The best on each level is that level's teacher: an oracle, since it was told the level, which the policy has
to tell from its telemetry. DAgger lets the policy play and asks the level's teacher what it would have done there.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from tamiyo_runtime.contracts.observation import Heads
from tamiyo_train.policy.distribution import ActionDistribution
from tamiyo_train.policy.gate_lesson import GateLesson
from tamiyo_train.policy.lane_deciders import Habit, Kasminas, LaneDecider, Networked
from tamiyo_train.policy.network import HeadViews, PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples
from tamiyo_train.policy.rollout import Decisions, Rollout, drawn_lanes, joined, repeated, roll, side_by_side
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes
from tamiyo_train.seeding import initialising

Tensor = torch.Tensor


def habit_grid(taught: Sequence[int], *, starts: Sequence[int] = (0, 1, 3)) -> list[Habit]:
    """Never growing, and every combination of start, first blueprint, number of seeds, intensity and order."""
    grid = itertools.product(starts, taught, (1, 2, 3), (2, 3, 4), (False, True))
    return [
        Habit(seeds=0),
        *(
            Habit(start=start, preferred=kind, seeds=seeds, intensity=intensity, forward=forward)
            for start, kind, seeds, intensity, forward in grid
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """The best habit on every level of every family, ``by_level``, and the best on average, ``tuned``.

    ``utility``: mean utility of each of them, the tuned one's by level under "tuned".
    """

    tuned: Habit
    by_level: Mapping[str, tuple[Habit, ...]]
    utility: Mapping[str, tuple[float, ...]]

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Teachers:
        """From `dataclasses.asdict`, as it comes out of a file."""
        return Teachers(
            tuned=Habit(**found["tuned"]),
            by_level={name: tuple(Habit(**habit) for habit in own) for name, own in found["by_level"].items()},
            utility={name: tuple(own) for name, own in found["utility"].items()},
        )

    def for_lanes(self, family: str, lanes: Lanes, device: torch.device) -> Kasminas:
        """The level's teacher in every lane."""
        return Kasminas([self.by_level[family][task] for task in lanes.task.tolist()], device=device)


class Tutor(Protocol):
    """Whom a policy is cloned from: a decider for one batch of episodes of a family's environment."""

    def begin(self, family: str, env: TensorGrowth) -> LaneDecider:
        """Begin with a new one; ``stakes`` (N,), where it has them, weigh its decisions."""


def search(
    envs: Mapping[str, TensorGrowth],
    habits: Sequence[Habit],
    *,
    rng: np.random.Generator,
    inits: range,
    draws: int = 6,
    finalists: int = 24,
    final_draws: int = 40,
) -> Teachers:
    """Play every habit on ``draws`` episodes a level, then the best of each level and on average on ``final_draws``."""
    tables = {name: _table(env, habits, rng=rng, inits=inits, draws=draws) for name, env in envs.items()}
    overall = torch.cat(list(tables.values())).mean(0).topk(min(finalists, len(habits))).indices.tolist()
    by_level: dict[str, tuple[Habit, ...]] = {}
    utility: dict[str, tuple[float, ...]] = {}
    common: list[Tensor] = []
    for name, env in envs.items():
        best = tables[name].topk(min(finalists, len(habits)), dim=1).indices.tolist()
        wanted = sorted({*overall, *(number for level in best for number in level[: finalists // 4])})
        again = _table(env, [habits[number] for number in wanted], rng=rng, inits=inits, draws=final_draws)
        top = again.argmax(1).tolist()
        by_level[name] = tuple(habits[wanted[number]] for number in top)
        utility[name] = tuple(again.amax(1).tolist())
        common.append(again[:, [wanted.index(number) for number in overall]])
    joint = torch.cat(common)
    winner = int(joint.mean(0).argmax())
    utility["tuned"] = tuple(joint[:, winner].tolist())
    return Teachers(tuned=habits[overall[winner]], by_level=by_level, utility=utility)


def _table(env: TensorGrowth, habits: Sequence[Habit], *, rng: np.random.Generator, inits: range, draws: int) -> Tensor:
    """Mean utility of habits on the levels of an environment, (levels, habits): all of them on the same episodes."""
    levels = len(env.tasks)
    lanes = drawn_lanes(env, rng, count=levels * draws, inits=inits)
    rollout = roll(env, repeated(lanes, len(habits)), Kasminas(list(habits) * (levels * draws), device=env.device))
    return rollout.utility.reshape(draws, levels, len(habits)).mean(0).float().cpu()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloning:
    """``rounds`` of DAgger after the first, each of ``lanes`` episodes an environment; ``steps`` of fitting a round.

    ``imagined``: other limits and devices under which the tutor is asked about every state of a round.
    """

    rounds: int = 4
    lanes: int = 1024
    steps: int = 600
    batch: int = 2048
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    value: float = 0.5
    auxiliary: float = 0.1
    gates: float = 1.0
    imagined: int = 0


def clone(
    envs: Mapping[str, TensorGrowth],
    tutor: Tutor,
    *,
    heads: Heads,
    running: RunningSamples,
    rng: np.random.Generator,
    inits: range,
    seed: int,
    config: Cloning | None = None,
    on_round: Callable[[int, float, float], None] | None = None,
) -> tuple[PolicyNetwork, tuple[float, float]]:
    """A policy that does what the tutor does, and mean and deviation of the utilities, in which its value head speaks.

    ``on_round`` is told the round, the mean utility of the round's episodes, and the loss.
    """
    config = config or Cloning()
    device = next(iter(envs.values())).device
    with initialising(seed):
        network = PolicyNetwork(heads).to(device)
    lesson = GateLesson(running, device=device)
    kept: list[Decisions] = []
    imagined: list[Decisions] = []
    scale = (0.0, 1.0)
    for number in range(1 + config.rounds):
        jobs: dict[str, Callable[[], Rollout]] = {}
        for name, env in envs.items():
            lanes = drawn_lanes(env, rng, count=config.lanes, inits=inits)
            teacher = tutor.begin(name, env)
            decider = tutor.begin(name, env) if number == 0 else Networked(network)
            others = [drawn_lanes(env, rng, count=config.lanes, inits=inits) for _ in range(config.imagined)]
            jobs[name] = functools.partial(roll, env, lanes, decider, teacher=teacher, imagined=others)
        rollouts = side_by_side(jobs, warm=all(config.lanes in env.warm for env in envs.values()))
        kept += [rollout.decisions for rollout in rollouts.values()]
        imagined += [rollout.imagined for rollout in rollouts.values() if rollout.imagined is not None]
        earned = [float(rollout.utility.mean()) for rollout in rollouts.values()]
        data = joined(kept)
        if number == 0:
            scale = (float(data.utility.mean()), max(float(data.utility.std()), 1e-3))
            repeats = max(1, round(len(data) / len(lesson.observation)))  # both phases count alike in the statistics
            network.freeze_statistics(torch.cat([data.vector, lesson.observation.repeat(repeats, 1)]))
        other = joined(imagined) if imagined else None
        loss = _fit(network, data, other, lesson, config, scale=scale, seed=seed + number)
        if on_round is not None:
            on_round(number, float(np.mean(earned)), loss)
    return network, scale


def _fit(
    network: PolicyNetwork,
    data: Decisions,
    imagined: Decisions | None,
    lesson: GateLesson,
    config: Cloning,
    *,
    scale: tuple[float, float],
    seed: int,
) -> float:
    """Fit to labelled decisions; the mean negative log-likelihood over the last tenth of the steps, nats."""
    device = network.mean.device
    rng = torch.Generator(device=device).manual_seed(seed)
    views = HeadViews(network.heads)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    network.train()
    recent: list[Tensor] = []
    for step in range(config.steps):
        batch = data.rows(torch.randint(len(data), (config.batch,), generator=rng, device=device))
        output = network(batch.vector)
        out = views(output)
        nll = _likelihood(network, output, batch)
        if imagined is not None:
            other = imagined.rows(torch.randint(len(imagined), (config.batch,), generator=rng, device=device))
            nll = (nll + config.imagined * _likelihood(network, network(other.vector), other)) / (1 + config.imagined)
        loss = (
            nll
            + config.value * F.mse_loss(out["value"][:, 0], (batch.utility - scale[0]) / scale[1])
            + config.auxiliary * F.binary_cross_entropy_with_logits(out["safety"], batch.safety)
            + config.auxiliary * F.binary_cross_entropy_with_logits(out["hardware"], batch.hardware)
            + config.gates * lesson.loss(network, config.batch // 4, rng)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        optimiser.step()
        schedule.step()
        if step >= config.steps - max(1, config.steps // 10):
            recent.append(nll.detach())
    network.eval()
    return float(torch.stack(recent).mean())


def _likelihood(network: PolicyNetwork, output: Tensor, batch: Decisions) -> Tensor:
    """Mean negative log-likelihood of what the tutor did, weighted by what hangs on it."""
    nll = -ActionDistribution.of(output, batch, network.heads).log_probability(batch.actions)
    found: Tensor = (nll * batch.weight).sum() / batch.weight.sum().clamp_min(1e-6)
    return found
