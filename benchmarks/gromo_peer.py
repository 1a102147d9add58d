"""The peer of the growth benchmark: `gromo` (TINY, Verbockhaven et al. 2024) grows a multi-layer perceptron.

As its authors lay it out: train; gather statistics on a part of the training set; compute the neurons that best follow
the part of the gradient which the present weights cannot; find by line search how strongly to add them; train on with
a fresh optimiser. All hidden layers grow in every round. What growing costs is counted as it runs, by torch: products
of statistics and line search, not the decompositions of matrices in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own idiom)
from gromo.containers.growing_mlp import GrowingMLP
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tamiyo_train.data import Tensors
from tamiyo_train.seeding import generator, initialising

SCALES = (0.0, 0.25, 0.5, 1.0)
STATISTICS = 1024
CPU = torch.device("cpu")  # gromo takes a GPU unasked where there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class GromoSettings:
    """``hidden`` units in each of ``layers`` hidden layers at birth, ``added`` at most to each layer in each round."""

    hidden: int
    layers: int = 3
    added: int = 4
    rounds: tuple[float, ...] = (0.2, 0.4)
    steps: int = 2000
    batch: int = 64
    learning_rate: float = 3e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class GromoResult:
    """Accuracy on test and score split (fractions), parameters and MACs of the grown network, MACs of its training."""

    accuracy: float
    score_accuracy: float
    params: int
    macs: int
    training_macs: int


def grow(data: Tensors, *, inputs: int, classes: int, settings: GromoSettings, seed: int) -> GromoResult:
    """Grow one network on a task, with the same batches in the same order as ours draws them."""
    with initialising(seed):
        network = GrowingMLP(inputs, classes, settings.hidden, settings.layers, activation=nn.ReLU(), device=CPU)
        batches = generator(seed, "batches")
        at = {round(share * settings.steps) for share in settings.rounds}
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        training_macs = 0
        for step in range(settings.steps):
            if step in at:
                with FlopCounterMode(display=False) as flops:
                    _grow_once(network, data, settings, batches)
                training_macs += flops.get_total_flops() // 2
                optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
            rate = settings.learning_rate * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / settings.steps)).item())
            for group in optimiser.param_groups:
                group["lr"] = rate
            x, y = data.batch(settings.batch, batches)
            optimiser.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimiser.step()
            training_macs += settings.batch * learning_macs(network)
        with torch.no_grad():
            accuracy, score = (
                float((network(split.x).argmax(1) == split.y).double().mean()) for split in (data.test, data.score)
            )
    return GromoResult(
        accuracy=accuracy,
        score_accuracy=score,
        params=sum(p.numel() for p in network.layers.parameters()),
        macs=macs_of(network),
        training_macs=training_macs,
    )


def macs_of(network: GrowingMLP) -> int:
    """Multiply-accumulates of one inference."""
    return sum(layer.weight.numel() for layer in network.layers)


def learning_macs(network: GrowingMLP) -> int:
    """Multiply-accumulates of a sample forward and back; the data get no gradient."""
    return 3 * macs_of(network) - int(network.layers[0].weight.numel())


def _grow_once(network: GrowingMLP, data: Tensors, settings: GromoSettings, batches: torch.Generator) -> None:
    """One round of growth on every growable layer."""
    for index in range(len(network._growable_layers)):
        network.set_growing_layers(index=index)
        network.init_computation()
        seen = 0
        held: list[tuple[torch.Tensor, torch.Tensor]] = []
        while seen < STATISTICS:
            x, y = data.batch(settings.batch, batches)
            held.append((x, y))
            network.zero_grad()
            F.cross_entropy(network(x), y).backward()
            network.update_computation()
            seen += len(y)
        network.compute_optimal_updates(maximum_added_neurons=settings.added)
        network.reset_computation()
        network.select_update(0)
        x, y = (torch.cat(parts) for parts in zip(*held, strict=True))
        losses = []
        for scale in SCALES:
            network.set_scaling_factor(scale)
            with torch.no_grad():
                losses.append(float(F.cross_entropy(network.extended_forward(x), y)))
        network.set_scaling_factor(SCALES[losses.index(min(losses))])
        network.apply_change()
    network.set_growing_layers("all")
