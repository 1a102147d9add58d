"""Values that are not finite: in weights, in the statistics of norms, in the optimiser's moments."""

from __future__ import annotations

import math

import numpy as np
import torch

from tamiyo_train.faults.kinds import Outcome, kinds, under_guard
from tamiyo_train.faults.scene import Scene


@kinds.register("nan-weights")
def nan_weights(scene: Scene, rng: np.random.Generator) -> Outcome:
    """NaN in a weight or buffer of host or seeds: one element, or all of them."""
    return _poisoned(scene, rng, math.nan)


@kinds.register("inf-weights")
def inf_weights(scene: Scene, rng: np.random.Generator) -> Outcome:
    """Infinity, of either sign, in a weight or buffer of host or seeds."""
    return _poisoned(scene, rng, math.inf if rng.random() < 0.5 else -math.inf)


@kinds.register("bad-moments")
def bad_moments(scene: Scene, rng: np.random.Generator) -> Outcome:
    """NaN or infinity in a first or second moment of the optimiser."""
    optimiser = scene.trainer.optimiser
    params = [param for group in optimiser.param_groups for param in group["params"] if param in optimiser.state]
    param = params[rng.integers(len(params))]
    key = ("exp_avg", "exp_avg_sq")[rng.integers(2)]
    value = (math.nan, math.inf)[rng.integers(2)]

    def strike() -> None:
        _put(optimiser.state[param][key], rng, value)

    return under_guard(scene, rng, f"{value} in {key}", strike)


def _poisoned(scene: Scene, rng: np.random.Generator, value: float) -> Outcome:
    named = [(n, t) for n, t in scene.network.state_dict(keep_vars=True).items() if t.is_floating_point()]
    name, tensor = named[rng.integers(len(named))]
    return under_guard(scene, rng, f"{value} in {name}", lambda: _put(tensor, rng, value))


def _put(tensor: torch.Tensor, rng: np.random.Generator, value: float) -> None:
    with torch.no_grad():
        if rng.random() < 0.5:
            tensor.fill_(value)
        else:
            tensor.view(-1)[int(rng.integers(tensor.numel()))] = value
