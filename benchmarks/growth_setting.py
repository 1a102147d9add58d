"""What teaching and judging growth policies share: seeds, how much of everything, environments, files."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.observation import Heads
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.policy import dagger, ppo
from tamiyo_train.policy.atlas import Survey
from tamiyo_train.policy.levels import EPISODE, FAMILIES, OFFERS, TAUGHT, growth
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.population.growth import TensorGrowth

SLOTS = 3
HEADS = Heads(slots=SLOTS, blueprints=len(OFFERS))
TRAINING, VALIDATION, HELD_OUT, REFERENCE = (
    range(10_000, 10_064),
    range(15_000, 15_020),
    range(20_000, 20_020),
    range(25_000, 25_020),
)
"""Seeds of weights: to learn from, to choose by, to be judged on, and for the oracle's choice on held-out levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything: the full run, or a smoke run in which nothing is learned well.

    ``every``: of the habits, take one in so many; ``forecast_lanes`` and
    ``forecast_steps``: of the tutor's forecast; ``episodes``: a held-out level.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    episode: Episode = EPISODE
    starts: tuple[int, ...] = (0, 1, 3)
    every: int = 1
    draws: int = 4
    finalists: int = 12
    final_draws: int = 24
    survey: Survey = dataclasses.field(default_factory=lambda: Survey(codes=tuple(range(1, 1 + len(TAUGHT)))))
    forecast_lanes: int = 512
    forecast_steps: int = 1500
    bandit_episodes: int = 16
    running: int = 16_000
    validation: int = 512
    episodes: int = 120
    cloning: dagger.Cloning = dataclasses.field(default_factory=lambda: dagger.Cloning(rounds=3, lanes=512, imagined=4))
    ppo: ppo.Settings = dataclasses.field(default_factory=lambda: ppo.Settings(iterations=8, lanes=512))


SMOKE = Scale(
    families=("spirals", "spheres"),
    episode=replace(EPISODE, steps=60),
    starts=(0,),
    every=9,
    draws=1,
    finalists=4,
    final_draws=1,
    survey=Survey(codes=(len(TAUGHT),), hosts=(1, 1), chunk=256),
    forecast_lanes=16,
    forecast_steps=50,
    bandit_episodes=2,
    running=256,
    validation=10,
    episodes=4,
    cloning=dagger.Cloning(rounds=1, lanes=16, steps=30, batch=128, imagined=1),
    ppo=ppo.Settings(iterations=2, lanes=16, minibatches=2, inits=(10_000, 10_004)),
)
_STARTED = time.monotonic()


def say(text: str) -> None:
    """Progress, with seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of a family, to learn on or to be ``judged`` on; ``number``: among those, ``value``: how hard it is.

    ``seed``: of its samples, None: the family's own.
    """

    family: str
    number: int
    value: float
    judged: bool
    seed: int | None = None

    def data(self) -> Tensors | None:
        """Its samples; None where the package that makes them is not installed."""
        family = FAMILIES[self.family]
        try:
            if self.seed is not None:
                return family.judged_level(self.value, seed=self.seed)
            return family.held_out_level(self.number) if self.judged else family.training_level(self.number)
        except MissingExtraError:
            return None


def training_envs(scale: Scale, device: str) -> dict[str, TensorGrowth]:
    """One environment a family, on all its training levels."""
    return envs(scale, device, _levels(scale, judged=False))


def held_out_envs(scale: Scale, device: str) -> dict[str, TensorGrowth]:
    """One environment a family, on all its held-out levels."""
    return envs(scale, device, _levels(scale, judged=True))


def _levels(scale: Scale, *, judged: bool) -> list[Level]:
    return [
        Level(family=name, number=number, value=value, judged=judged)
        for name in scale.families
        for number, value in enumerate(FAMILIES[name].held_out if judged else FAMILIES[name].training)
    ]


def envs(scale: Scale, device: str, levels: Sequence[Level]) -> dict[str, TensorGrowth]:
    """One environment a family, on its levels in their order; their samples are made side by side."""
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        made = list(pool.map(Level.data, levels))
    by_family: dict[str, list[Tensors]] = {}
    for level, data in zip(levels, made, strict=True):
        if data is not None:
            by_family.setdefault(level.family, []).append(data)
    for name in sorted(set(scale.families) - set(by_family)):
        say(f"{name} is left out: its package is not installed")
    return {
        name: growth(FAMILIES[name].builder(), data, device=device, episode=scale.episode)
        for name, data in by_family.items()
    }


def write(path: Path, document: Any) -> None:
    """JSON beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(document, indent=1, default=list) + "\n")
    beside.replace(path)


def load_policy(path: Path, device: str) -> PolicyNetwork:
    """A policy as it was kept."""
    network = PolicyNetwork(HEADS)
    network.load_state_dict(load_file(path))
    return network.to(device).eval()


def untaught() -> Sequence[int]:
    """Numbers of blueprints that no population grows."""
    return [number for number in range(HEADS.blueprints) if number not in TAUGHT]


def kept(path: Path, device: str) -> dict[str, Any] | None:
    """What `keep` wrote, if it did."""
    if not path.exists():
        return None
    found: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return found


def keep(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain data beside, then renamed: work that a killed run takes up again."""
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    beside.replace(path)
