"""What blows up without a NaN: the loss, the activations behind a seed, the cost of the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from tamiyo_train.faults.kinds import Outcome, kinds, under_guard
from tamiyo_train.faults.scene import Scene
from tamiyo_train.lifecycle import State


@kinds.register("label-noise")
def label_noise(scene: Scene, rng: np.random.Generator) -> Outcome:
    """A burst of wrong labels: from one step on every label of the training set is another class."""
    data = scene.trainer.data
    wrong = wrong_labels(data.train_y, rng)

    def strike() -> None:
        scene.trainer.data = replace(data, train_y=wrong)

    return under_guard(scene, rng, f"labels replaced, loss {scene.guessing:.2f} of that of guessing", strike)


def wrong_labels(labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Another class for every label, of the classes that are there: (N,), or (N, T) with one a time step."""
    classes = int(labels.max()) + 1
    return (labels + torch.from_numpy(rng.integers(1, classes, tuple(labels.shape)))) % classes


@kinds.register("rate-spike")
def rate_spike(scene: Scene, rng: np.random.Generator) -> Outcome:
    """The learning rate jumps by a factor of 100 to 10,000."""
    factor = float(10 ** rng.uniform(2, 4))

    def strike() -> None:
        scene.trainer.caution = factor

    return under_guard(scene, rng, f"learning rate times {factor:.0f}", strike)


@kinds.register("drift")
def drift(scene: Scene, rng: np.random.Generator) -> Outcome:
    """A seed that is being blended in turns its slot's tensor round, or blows up its norm.

    Its last weights are replaced by large ones: batch norms behind the slot may hide that from the loss.
    """
    slot = scene.network.slots_in(State.BLENDING, State.PROBATIONARY)[0]
    module = scene.network.seed_at(slot).module
    struck = last_weights(module)
    scale = float(10 ** rng.uniform(2, 4))

    def strike() -> None:
        with torch.no_grad():
            for param in struck:
                noise = torch.from_numpy(rng.standard_normal(tuple(param.shape), dtype=np.float32))
                param.copy_(scale * noise)

    return under_guard(scene, rng, f"seed of slot {slot} replaced by noise of scale {scale:.0f}", strike)


def last_weights(seed: nn.Module) -> list[nn.Parameter]:
    """The last two parameters of a seed, but for those of a gate, which can do no more than open or close it."""
    return [param for name, param in seed.named_parameters() if not name.startswith("gate.")][-2:]


@kinds.register("budget-breach")
def budget_breach(scene: Scene, rng: np.random.Generator) -> Outcome:
    """The budget falls below what the network takes, or a seed that nobody budgeted for is put in a slot."""
    gardener, network = scene.gardener, scene.network
    cost = gardener.pricer.price(network.graphs())
    limits = [name for name in ("params", "macs", "latency_ms", "memory_bytes") if getattr(cost, name) is not None]
    name = limits[rng.integers(len(limits))]
    below = getattr(cost, name) * float(rng.uniform(0.5, 0.99))
    limit = below if isinstance(getattr(cost, name), float) else int(below)

    def strike() -> None:
        gardener.budget = replace(gardener.budget, **{name: limit})

    return under_guard(scene, rng, f"{name} limited to {limit:.4g}", strike)
