"""Each price of the reward at 0 and at ten times its value: which habit would then be best, and what it comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from benchmarks.growth_setting import TRAINING, Scale
from benchmarks.growth_teaching import bandit_habits
from tamiyo_train.config import Prices
from tamiyo_train.policy.lane_deciders import Kasminas
from tamiyo_train.policy.rollout import drawn_lanes, repeated, roll
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.reward import utilities


def price_table(scale: Scale, envs: Mapping[str, TensorGrowth]) -> list[dict[str, Any]]:
    """Each price at 0 and at ten times its value: the habit that would be chosen, and what it comes to."""
    habits = bandit_habits(scale)
    rollouts = []
    for env in envs.values():
        lanes = drawn_lanes(env, np.random.default_rng(5), count=scale.bandit_episodes, inits=TRAINING)
        rollouts.append(
            (env, roll(env, repeated(lanes, len(habits)), Kasminas(habits * scale.bandit_episodes, device=env.device)))
        )
    rows = []
    plain = scale.episode.prices
    for name in (None, *(field.name for field in dataclasses.fields(Prices))):
        for factor in (1.0,) if name is None else (0.0, 10.0):
            prices = plain if name is None else replace(plain, **{name: factor * getattr(plain, name)})
            columns: dict[str, list[torch.Tensor]] = {}
            for env, rollout in rollouts:
                budget = env.table.host.new_tensor(env.lanes.budget.tolist()).to(env.device)
                shaped = {
                    "utility": utilities(rollout.result, budget, prices),
                    "accuracy": rollout.result.accuracy,
                    "params": rollout.result.cost[:, 0] / budget[:, 0],
                    "training": rollout.result.training_ratio,
                }
                for key, value in shaped.items():
                    columns.setdefault(key, []).append(value.reshape(-1, len(habits)).mean(0))
            means = {key: torch.stack(parts).mean(0) for key, parts in columns.items()}
            best = int(means["utility"].argmax())
            rows.append(
                {
                    "price": name or "as they are",
                    "times": factor,
                    "habit": asdict(habits[best]),
                    "accuracy": float(means["accuracy"][best]),
                    "params_of_budget": float(means["params"][best]),
                    "training_ratio": float(means["training"][best]),
                }
            )
    return rows
