"""A contextual bandit: waits one window, predicts what each habit would come to, and lives by the best from then on.

The cheapest kind of learned policy, and so the one that anything dearer has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from tamiyo_train.policy.lane_deciders import Habit, Kasminas
from tamiyo_train.policy.rollout import drawn_lanes, repeated, roll
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Seen
from tamiyo_train.seeding import initialising

Tensor = torch.Tensor


class Bandit:
    """Predicts the utility of K habits from the observation before the second decision. None of them starts earlier."""

    def __init__(self, habits: Sequence[Habit], network: nn.Sequential, mean: Tensor, deviation: Tensor) -> None:
        self.habits, self.network, self.mean, self.deviation = tuple(habits), network, mean, deviation

    def predict(self, vector: Tensor) -> Tensor:
        """Utilities (N, K) of observations (N, size)."""
        found: Tensor = self.network(((vector - self.mean) / self.deviation).clamp(-6, 6))
        return found

    def begin(self) -> BanditPlay:
        """A decider for one batch of episodes."""
        return BanditPlay(self)


class BanditPlay:
    """One batch of episodes of a bandit."""

    def __init__(self, bandit: Bandit) -> None:
        self._bandit = bandit
        self._decision = 0
        self._chosen: Kasminas | None = None

    @torch.no_grad()
    def decide(self, seen: Seen) -> Tensor:
        """WAIT first; then choose a habit in every lane, and follow it."""
        self._decision += 1
        if self._decision == 1:
            return torch.zeros(len(seen.vector), 4, dtype=torch.int64, device=seen.vector.device)
        if self._chosen is None:
            best = self._bandit.predict(seen.vector).argmax(1).tolist()
            habits = [self._bandit.habits[number] for number in best]
            self._chosen = Kasminas(habits, device=seen.vector.device)
        return self._chosen.decide(seen)


def fit(
    envs: Mapping[str, TensorGrowth],
    habits: Sequence[Habit],
    *,
    rng: np.random.Generator,
    inits: range,
    episodes: int = 40,
    steps: int = 1500,
    seed: int = 0,
) -> Bandit:
    """Play every habit, from the second decision on, on the same ``episodes`` an environment, and regress."""
    contexts, targets = [], []
    for env in envs.values():
        lanes = drawn_lanes(env, rng, count=episodes, inits=inits)
        fresh = Bandit(habits, nn.Sequential(), torch.zeros(1), torch.ones(1))
        play = _Each(fresh.habits, episodes, env.device)
        rollout = roll(env, repeated(lanes, len(habits)), play)
        count = episodes * len(habits)
        second = rollout.decisions.vector[count : 2 * count]
        contexts.append(second[:: len(habits)])
        targets.append(rollout.utility.reshape(episodes, len(habits)).float())
    x, y = torch.cat(contexts), torch.cat(targets)
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-3)
    with initialising(seed):
        network = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, len(habits))).to(x.device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    made = Bandit(habits, network, mean, deviation)
    middle = y.mean(1, keepdim=True)
    for _ in range(steps):
        guess = made.predict(x)
        # What matters is how habits differ on an episode, not how good the episode is.
        loss = ((guess - guess.mean(1, keepdim=True)) - (y - middle)).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        optimiser.step()
    return made


class _Each:
    """Every habit in turn, after one window of waiting."""

    def __init__(self, habits: Sequence[Habit], episodes: int, device: torch.device) -> None:
        self._inner = Kasminas(list(habits) * episodes, device=device)
        self._first = True

    def decide(self, seen: Seen) -> Tensor:
        """WAIT first, then as the habits say."""
        if self._first:
            self._first = False
            return torch.zeros(len(seen.vector), 4, dtype=torch.int64, device=seen.vector.device)
        return self._inner.decide(seen)
