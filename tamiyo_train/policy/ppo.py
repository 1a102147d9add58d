"""Proximal policy optimisation (Schulman et al. 2017) of the growth policy, with masked autoregressive heads.

    collect episodes in every environment -> advantages (GAE, gamma 1) -> epochs of clipped updates, stopped by KL

What differs from the textbook is there for a reason: the horizon is 15 decisions, so nothing is discounted; episodes
come in groups on the same host with the same batches and budget, and the mean advantage of a group is taken off, since
a lucky host is no merit of who grew it; returns are normalised and the value head rescaled along, so that its output
means the same; entropy counts the factors that mean something where they leave a choice; every factor keeps a floor of
probability; and the policy is held near the cloned one at first. Auxiliary heads go on learning: safety and hardware
from what happened, gates from simulated devices.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tamiyo_runtime.contracts.document import require
from tamiyo_train.policy.distribution import FACTORS, ActionDistribution
from tamiyo_train.policy.gate_lesson import GateLesson
from tamiyo_train.policy.lane_deciders import Networked
from tamiyo_train.policy.network import HeadViews, PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples
from tamiyo_train.policy.rollout import Decisions, Rollout, drawn_lanes, joined, repeated, roll, side_by_side
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes
from tamiyo_train.population.reward import SHAPING

Tensor = torch.Tensor
_DEVICES = 256
"""Simulated devices that the gates are taught on in every update."""
LEAST_EXPLAINED, UPDATES_ALLOWED = 0.1, 20
"""Learning stops when the value head explains less than this of the returns after so many updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one training. ``lanes``: episodes an environment and iteration, ``group`` of which share host, batches and
    budget, and are compared with each other; 1 compares none. ``floor``: see `distribution`.

    ``entropy`` and ``leash``: weights of the entropy bonus and of the KL to the cloned policy at the start; both fall
    to 0 linearly. ``gates``: weight of the run-time gates' loss; ``auxiliary``: of safety and hardware.
    """

    iterations: int = 24
    lanes: int = 1024
    group: int = 8
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 1e-3
    lam: float = 0.95
    clip: float = 0.2
    target_kl: float = 0.02
    floor: float = 0.02
    entropy: float = 0.01
    leash: float = 0.05
    value: float = 0.5
    auxiliary: float = 0.1
    gates: float = 0.5
    gradient_limit: float = 0.5
    shaping: float = SHAPING
    inits: tuple[int, int] = (10_000, 10_064)

    def __post_init__(self) -> None:
        for name in ("iterations", "lanes", "group", "epochs", "minibatches"):
            require(getattr(self, name) > 0, name, f"must be above 0, got {getattr(self, name)}")
        require(self.lanes % self.group == 0, "lanes", f"{self.lanes} are no whole number of groups of {self.group}")
        require(0 <= self.floor < 1, "floor", f"must be in 0..1, below 1, got {self.floor}")
        require(0 <= self.lam <= 1, "lam", f"must be in 0..1, got {self.lam}")
        require(self.inits[0] < self.inits[1], "inits", f"{self.inits} is an empty range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One iteration: mean utility of its episodes by environment, and how the update went.

    ``explained``: share of the variance of the returns that the value head explains, before the update; ``kl``: to
    the policy that collected; ``leash_kl``: to the cloned one; ``clipped``: share of ratios beyond the clip;
    ``entropies`` and ``choices``: by factor, mean entropy over ln of its choices, and decisions where there was one.
    """

    iteration: int
    utility: Mapping[str, float]
    explained: float
    kl: float
    leash_kl: float
    clipped: float
    epochs: int
    entropies: Mapping[str, float]
    choices: Mapping[str, int]

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


@dataclass(slots=True)
class Scale:
    """Mean and deviation of the returns so far, in exponential averages; the value head speaks in these units."""

    mean: float
    deviation: float

    def follow(self, returns: Tensor, network: PolicyNetwork, *, rate: float = 0.2) -> None:
        """Move towards the returns at hand, and rescale the head so that what it says stays the same."""
        mean = self.mean + rate * (float(returns.mean()) - self.mean)
        deviation = self.deviation + rate * (max(float(returns.std()), 1e-3) - self.deviation)
        network.rescale_value(factor=self.deviation / deviation, shift=(self.mean - mean) / deviation)
        self.mean, self.deviation = mean, deviation

    def raw(self, values: Tensor) -> Tensor:
        """Values of the head as returns."""
        return values * self.deviation + self.mean


def advantages(rewards: Tensor, values: Tensor, *, lam: float) -> Tensor:
    """Generalised advantages of T decisions in N lanes, gamma 1: both (T, N); the episode ends after the last."""
    following = torch.cat([values[1:], torch.zeros_like(values[:1])])
    errors = rewards + following - values
    found = torch.zeros_like(errors)
    running = torch.zeros_like(errors[0])
    for index in reversed(range(len(errors))):
        running = errors[index] + lam * running
        found[index] = running
    return found


def within_groups(advantage: Tensor, group: int) -> Tensor:
    """Advantages (D,) less the mean of their group, ``group`` neighbours each: lanes that `repeated` put side by side.

    A group of one is compared with nobody.
    """
    if group == 1:
        return advantage
    grouped = advantage.reshape(-1, group)
    return (grouped - grouped.mean(1, keepdim=True)).flatten()


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns); 0 where returns do not vary."""
    spread = float(returns.var())
    return 1 - float((returns - values).var()) / spread if spread > 0 else 0.0


class Learner:
    """A policy in training. ``scale``: of its value head; ``running``: simulated devices for its gates."""

    def __init__(
        self, network: PolicyNetwork, settings: Settings, *, scale: Scale, running: RunningSamples, seed: int
    ) -> None:
        self.network, self.settings, self.scale = network, settings, scale
        self.device = network.mean.device
        self.reference = copy.deepcopy(network).eval()
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, eps=1e-5)
        self._views = HeadViews(network.heads)
        self._rng = torch.Generator(device=self.device).manual_seed(seed)
        self._lanes = np.random.default_rng(seed)
        self._running = GateLesson(running, device=self.device)
        self._history: list[Progress] = []

    def state(self) -> dict[str, Any]:
        """Everything that learning goes on from, as tensors and plain data."""
        return {
            "network": self.network.state_dict(),
            "reference": self.reference.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scale": [self.scale.mean, self.scale.deviation],
            "rng": self._rng.get_state(),
            "lanes": self._lanes.bit_generator.state,
            "history": [progress.to_json() for progress in self._history],
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; `learn` then does what is left."""
        self.network.load_state_dict(state["network"])
        self.reference.load_state_dict(state["reference"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scale.mean, self.scale.deviation = state["scale"]
        self._rng.set_state(state["rng"].cpu())
        self._lanes.bit_generator.state = state["lanes"]
        self._history = [Progress(**found) for found in state["history"]]

    def learn(
        self, envs: Mapping[str, TensorGrowth], on_progress: Callable[[Progress], None] | None = None
    ) -> list[Progress]:
        """All iterations that are left, or fewer when the value head explains nothing; `state` may be kept between."""
        history = self._history
        for iteration in range(len(history), self.settings.iterations):
            if iteration > UPDATES_ALLOWED and history[-1].explained < LEAST_EXPLAINED:
                break
            left = 1 - iteration / self.settings.iterations
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * max(left, 0.1)
            rollouts = self._collect(envs)
            history.append(self._update(rollouts, iteration, left))
            if on_progress is not None:
                on_progress(history[-1])
        self.network.rescale_value(factor=self.scale.deviation, shift=self.scale.mean)
        self.network.eval()
        return history

    def _collect(self, envs: Mapping[str, TensorGrowth]) -> dict[str, Rollout]:
        settings = self.settings

        def played(env: TensorGrowth, lanes: Lanes, seed: int) -> Rollout:
            rng = torch.Generator(device=self.device).manual_seed(seed)
            return roll(env, lanes, Networked(self.network, rng, floor=settings.floor), shaping=settings.shaping)

        jobs: dict[str, Callable[[], Rollout]] = {}
        for name, env in envs.items():
            drawn = drawn_lanes(env, self._lanes, count=settings.lanes // settings.group, inits=range(*settings.inits))
            seed = int(self._lanes.integers(2**31))
            jobs[name] = functools.partial(played, env, repeated(drawn, settings.group), seed)
        return side_by_side(jobs, warm=all(settings.lanes in env.warm for env in envs.values()))

    def _update(self, rollouts: Mapping[str, Rollout], iteration: int, left: float) -> Progress:
        settings, batch = self.settings, joined([rollout.decisions for rollout in rollouts.values()])
        self.scale.follow(batch.returns, self.network)
        values, before = self._evaluated(batch)
        explained = explained_variance(values, batch.returns)
        advantage = self._advantages(rollouts, values)
        targets = (advantage + values - self.scale.mean) / self.scale.deviation
        advantage = within_groups(advantage, settings.group)
        advantage = (advantage - advantage.mean()) / advantage.std().clamp_min(1e-6)
        kl = leash = clipped = 0.0
        epochs = 0
        while epochs < settings.epochs and kl < 1.5 * settings.target_kl:
            order = torch.randperm(len(batch), generator=self._rng, device=self.device)
            figures = [
                self._step(batch.rows(rows), advantage[rows], targets[rows], before[rows], left)
                for rows in order.chunk(settings.minibatches)
            ]
            kl, leash, clipped = (float(torch.stack(column).mean()) for column in zip(*figures, strict=True))
            epochs += 1
        entropies, choices = self._entropies(batch)
        return Progress(
            iteration=iteration,
            utility={name: float(rollout.utility.mean()) for name, rollout in rollouts.items()},
            explained=explained,
            kl=kl,
            leash_kl=leash,
            clipped=clipped,
            epochs=epochs,
            entropies=entropies,
            choices=choices,
        )

    @torch.no_grad()
    def _evaluated(self, batch: Decisions) -> tuple[Tensor, Tensor]:
        """Values as returns and ln p of the actions, of every decision."""
        output = self.network(batch.vector)
        chosen = ActionDistribution.of(output, batch, self.network.heads, floor=self.settings.floor)
        return self.scale.raw(self._views(output)["value"][:, 0]), chosen.log_probability(batch.actions)

    def _advantages(self, rollouts: Mapping[str, Rollout], values: Tensor) -> Tensor:
        parts, start = [], 0
        for rollout in rollouts.values():
            size = rollout.rewards.numel()
            own = values[start : start + size].reshape(rollout.rewards.shape)
            parts.append(advantages(rollout.rewards.float(), own, lam=self.settings.lam).flatten())
            start += size
        return torch.cat(parts)

    def _step(
        self, batch: Decisions, advantage: Tensor, targets: Tensor, before: Tensor, left: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One update on a minibatch; its KL to the collecting policy and to the cloned one, and the share clipped."""
        settings, heads = self.settings, self.network.heads
        output = self.network(batch.vector)
        out = self._views(output)
        chosen = ActionDistribution.of(output, batch, heads, floor=settings.floor)
        with torch.no_grad():
            cloned = ActionDistribution.of(self.reference(batch.vector), batch, heads, floor=settings.floor)
        change = chosen.log_probability(batch.actions) - before
        ratio = change.exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - settings.clip, 1 + settings.clip) * advantage).mean()
        leash = chosen.divergence(cloned, batch.actions).mean()
        loss = (
            -gain
            + settings.value * F.mse_loss(out["value"][:, 0], targets)
            - settings.entropy * left * chosen.mean_entropy(batch.actions)
            + settings.leash * left * leash
            + settings.auxiliary * F.binary_cross_entropy_with_logits(out["safety"], batch.safety)
            + settings.auxiliary * F.binary_cross_entropy_with_logits(out["hardware"], batch.hardware)
            + settings.gates * self._running.loss(self.network, _DEVICES, self._rng)
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_limit)
        self.optimiser.step()
        with torch.no_grad():
            return (ratio - 1 - change).mean(), leash.detach(), ((ratio - 1).abs() > settings.clip).float().mean()

    @torch.no_grad()
    def _entropies(self, batch: Decisions) -> tuple[dict[str, float], dict[str, int]]:
        output = self.network(batch.vector)
        chosen = ActionDistribution.of(output, batch, self.network.heads, floor=self.settings.floor)
        table = chosen.entropies(batch.actions)
        counts = (~table.isnan()).sum(0).tolist()
        return (
            dict(zip(FACTORS, table.nanmean(0).tolist(), strict=True)),
            dict(zip(FACTORS, counts, strict=True)),
        )
