"""A teacher that prices every topology for the budget and the device at hand, and grows what comes to most.

    observation --(forecast)--> expected worth of every topology --(exact prices, limits)--> the best that may be grown

The forecast is a regression of the atlas's worths on observations. It is not told the level, so where telemetry does
not show it, as before the first window, it says the mean over all levels that look like this; its choices are those of
somebody who knows no more than the policy that learns from them. Prices and limits come from the cost table, exactly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_train.policy.atlas import Atlas, planted
from tamiyo_train.policy.rollout import Rollout, drawn_lanes, roll, side_by_side
from tamiyo_train.population.cost_table import LIMITS, PROFILE_FEATURES
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Phase, Seen
from tamiyo_train.seeding import initialising

Tensor = torch.Tensor
_PARAMS, _MACS, _LATENCY, _ENERGY = (LIMITS.index(name) for name in ("params", "macs", "latency_ms", "energy_uj"))
_LIMITED = frozenset(
    ("params_left", "macs_left", "latency_left", "energy_left", *PROFILE_FEATURES, "budget_left", "relative_latency")
)
"""Features that depend on limits or device."""
_CLIP = 6.0
_STAKE = 0.004
"""Utility at stake, at which a decision counts one and a quarter times as much as one where nothing is."""


class Forecast(nn.Module):
    """(N, size) observations -> (N, 2 K): gain of K topologies, and what would be left of it if it began now.

    It looks at nothing that limits or device have a part in: what is learned does not depend on them.
    """

    mean: Tensor
    deviation: Tensor
    middle: Tensor
    looks: Tensor

    def __init__(self, size: int, outputs: int, *, width: int = 192) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("middle", torch.zeros(outputs))
        slots = (size - len(GLOBAL_FEATURES)) // len(SLOT_FEATURES)
        names = [*GLOBAL_FEATURES, *SLOT_FEATURES * slots]
        self.register_buffer("looks", torch.tensor([float(name not in _LIMITED) for name in names]))
        self.layers = nn.Sequential(
            nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )

    def forward(self, vector: Tensor) -> Tensor:
        """Expected worths."""
        x = ((vector - self.mean) / self.deviation).clamp(-_CLIP, _CLIP) * self.looks
        found: Tensor = self.middle + self.layers(x)
        return found


def targets(atlas: Atlas, task: Tensor, decision: Tensor) -> Tensor:
    """What the forecast should say of lanes (N,) on levels ``task`` at a decision, (N, 2 K)."""
    gain = atlas.gain.to(task.device)[task]
    return torch.cat([gain, atlas.late.to(task.device)[decision][:, None] * gain], 1).float()


class Foresight:
    """A decider for one batch of episodes of ``env``.

    ``forecast``: None where it is told the level, the true one or ``levels`` (N,).
    ``stakes`` (N,): after a decision, how much it counts: more where more utility hangs on it.
    """

    def __init__(
        self, env: TensorGrowth, atlas: Atlas, forecast: Forecast | None, *, levels: Tensor | None = None
    ) -> None:
        self._env, self._atlas, self._forecast, self._levels = env, atlas, forecast, levels
        device = env.device
        self._codes = atlas.codes.to(device)
        self._numbers = torch.tensor([0, *env.taught], device=device)
        self.stakes = torch.ones(0, device=device)

    @torch.no_grad()
    def decide(self, seen: Seen) -> Tensor:
        """Tend what grows; germinate the next seed of the best topology that holds what is there and fits."""
        env, count = self._env, len(self._codes)
        if self._forecast is None:
            decision = torch.full_like(env.task, env.window)
            said = targets(self._atlas, env.task if self._levels is None else self._levels, decision)
        else:
            said = self._forecast(seen.vector)
        begun, late = said[:, :count].double(), said[:, count:].double()
        there = torch.where(env.slots.phase == Phase.EMBARGOED, 0, env.slots.code)
        present = (there[:, None] == self._codes).all(2).int().argmax(1, keepdim=True)
        worth = begun.gather(1, present) + late - late.gather(1, present) - self._prices(present)
        best = worth.argmax(1)
        wants = torch.where(there > 0, 0, self._codes[best])
        actions = planted(seen, wants, self._numbers)
        here = worth.gather(1, present)[:, 0]
        others = worth.scatter(1, present, -torch.inf).amax(1)
        gap = (others - here).abs().nan_to_num(0.0, 0.0, 0.0)
        self.stakes = (0.25 + gap / _STAKE).clamp_max(2.0).float()
        self.stakes[~others.isfinite()] = 1.0
        return actions

    def _prices(self, present: Tensor) -> Tensor:
        """What every topology costs from now on, (N, K), infinite where it breaks a limit or lacks what is there."""
        env, prices = self._env, self._env.config.prices
        lanes, count = len(env.profile), len(self._codes)
        every = self._codes.repeat(lanes, 1)
        cost = env.table.of_lanes(env.profile.repeat_interleave(count), every).reshape(lanes, count, -1)
        budget = env.budget[:, None]
        used = cost / budget
        holds = self._codes[present[:, 0]]
        keeps = ((holds[:, None] == 0) | (holds[:, None] == self._codes)).all(2)
        there = torch.nn.functional.one_hot(present[:, 0], len(self._codes)).bool()
        left = 1 - env.window / env.config.decisions
        macs = (cost[..., _MACS] - cost[..., _MACS].gather(1, present)) / env.table.host[env.profile][:, _MACS, None]
        excess = (used - 1).clamp_min(0.0)
        price = (
            prices.params * (1 + used[..., _PARAMS]).log2()
            + prices.energy * excess[..., _ENERGY]
            + prices.latency * excess[..., _LATENCY]
            + prices.training_macs * left * macs
        )
        allowed = there | (keeps & (cost <= budget).all(2))
        return torch.where(allowed, price, torch.inf)


class Tutor:
    """Foresight for every family, as `dagger.clone` asks for it."""

    def __init__(self, atlases: Mapping[str, Atlas], forecast: Forecast | None) -> None:
        self.atlases, self.forecast = atlases, forecast

    def begin(self, family: str, env: TensorGrowth) -> Foresight:
        """A teacher for one batch of episodes."""
        return Foresight(env, self.atlases[family], self.forecast)


def learn(
    envs: Mapping[str, TensorGrowth],
    atlases: Mapping[str, Atlas],
    *,
    rng: np.random.Generator,
    inits: range,
    lanes: int,
    rounds: int = 2,
    steps: int = 1500,
    batch: int = 4096,
    seed: int = 0,
) -> Tutor:
    """Fit a forecast on episodes of a teacher that is told any level, then on those of the forecast itself as well.

    Told the true level, what it grows would give the level away, and the forecast would go by that.
    """
    tutor = Tutor(atlases, None)
    seen: list[Tensor] = []
    wanted: list[Tensor] = []
    for number in range(rounds):
        jobs: dict[str, Callable[[], Rollout]] = {}
        drawn = {name: drawn_lanes(env, rng, count=lanes, inits=inits) for name, env in envs.items()}
        for name, env in envs.items():
            play = tutor.begin(name, env)
            if number == 0:
                levels = torch.from_numpy(rng.integers(len(env.tasks), size=lanes)).to(env.device)
                play = Foresight(env, atlases[name], None, levels=levels)
            jobs[name] = functools.partial(roll, env, drawn[name], play)
        rollouts = side_by_side(jobs, warm=all(lanes in env.warm for env in envs.values()))
        for name, rollout in rollouts.items():
            device = envs[name].device
            decision = torch.arange(len(rollout.rewards), device=device).repeat_interleave(lanes)
            task = drawn[name].task.to(device).repeat(len(rollout.rewards))
            seen.append(rollout.decisions.vector)
            wanted.append(targets(atlases[name], task, decision))
        tutor = Tutor(
            atlases, _fitted(torch.cat(seen), torch.cat(wanted), steps=steps, batch=batch, seed=seed + number)
        )
    return tutor


def _fitted(x: Tensor, y: Tensor, *, steps: int, batch: int, seed: int) -> Forecast:
    with initialising(seed):
        forecast = Forecast(x.shape[1], y.shape[1]).to(x.device)
    forecast.mean.copy_(x.mean(0))
    forecast.deviation.copy_(x.std(0).clamp_min(1e-3))
    forecast.middle.copy_(y.mean(0))
    rng = torch.Generator(device=x.device).manual_seed(seed)
    optimiser = torch.optim.AdamW(forecast.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=rng, device=x.device)
        loss = 100 * (forecast(x[rows]) - y[rows]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return forecast.eval()
