"""What training executes, in multiply-accumulates: forward, for gradients of activations, and for those of weights.

Each costs a linear layer as much as its forward pass, and each is charged only where it is computed: no gradient of the
data, in a held pass none of the host's weights and none of activations before the first newborn. A product of two
activations passes two gradients back. Products are all that counts: sums, activations and the optimiser are left out.

`Trainer` and `population.plan` charge by the same formulas, over tensors of tolls a piece: ``trunk`` (4, 1 + S) of the
host's pieces, ``seeds`` (4, ..., S) of what is in the slots. A population executes more than it charges, since it pads
its seeds: charged is what one network by itself takes, as torch counts it on modules.

Left out: what a seed's own loss and `Episode.space_target` cost, and what recomputed activations do. Within a seed that
grows another inside, all gradients of activations are charged, those before the newborn too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import torch

from tamiyo_train.config import Episode
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.hosts import Host
from tamiyo_train.seed import GrownNetwork

Tensor = torch.Tensor
FORWARD, WEIGHTS, ACTIVATIONS, ENTRY = range(4)
"""Rows of tolls. ENTRY: that part of ACTIVATIONS which is the gradient of what enters the piece."""


def toll(layers: Iterable[Layer]) -> tuple[int, int, int, int]:
    """Multiply-accumulates of a piece for one sample, by the rows above."""
    products = [layer for layer in layers if layer.macs]
    return (
        sum(layer.macs for layer in products),
        sum(layer.macs for layer in products if layer.kind is not Kind.MATMUL),
        sum(layer.macs * (2 if layer.kind is Kind.MATMUL else 1) for layer in products),
        sum(layer.macs for number, layer in enumerate(products) if number == 0 or layer.at_entry),
    )


def tolls(pieces: Iterable[Sequence[Layer]]) -> Tensor:
    """Tolls of pieces in running order, (4, pieces) int64."""
    return torch.tensor([toll(piece) for piece in pieces]).t()


def learning_pass(trunk: Tensor, seeds: Tensor, on: Tensor) -> Tensor:
    """A sample forward and back where host and the seeds that are ``on`` (..., S) learn, (...)."""
    return trunk[:ENTRY].sum() - trunk[ENTRY, 0] + (seeds[:ENTRY].sum(0) * on).sum(-1)


def held_pass(trunk: Tensor, seeds: Tensor, on: Tensor, newborn: Tensor) -> Tensor:
    """A sample forward and back where the seeds that are ``newborn`` (..., S) alone learn, (...); 0 without one."""
    there, learning = on | newborn, newborn & (seeds[WEIGHTS] > 0)
    first = learning & (learning.cumsum(-1) == 1)
    behind = learning.cumsum(-1) > 0
    forward = trunk[FORWARD].sum() + (seeds[FORWARD] * there).sum(-1)
    passed = (trunk[ACTIVATIONS, 1:] * behind).sum(-1) + (seeds[ACTIVATIONS] * (there & behind)).sum(-1)
    learned = (seeds[WEIGHTS] * learning).sum(-1) - (seeds[ENTRY] * first).sum(-1)
    return (forward + passed + learned) * newborn.any(-1)


def probing_pass(trunk: Tensor, seeds: Tensor, on: Tensor) -> Tensor:
    """A sample forward, and its own gradient, (...): nothing learns."""
    both = [FORWARD, ACTIVATIONS]
    return trunk[both].sum() + (seeds[both].sum(0) * on).sum(-1)


def reading_pass(trunk: Tensor, seeds: Tensor, on: Tensor, there: Tensor) -> Tensor:
    """A sample of `telemetry.read`, (...): the network as it stands, and again from each seed's slot on without it.

    Seeds that are ``there`` (..., S) but not ``on`` are tried instead.
    """
    running = seeds[FORWARD] * on
    behind = (trunk[FORWARD, 1:] + running).flip(-1).cumsum(-1).flip(-1) - running
    tried = seeds[FORWARD] * ~on
    return trunk[FORWARD].sum() + running.sum(-1) + ((behind + tried) * there).sum(-1)


def alone(host: Host, config: Episode) -> int:
    """Multiply-accumulates of the bare host's training, as long as an episode's."""
    trunk = tolls(host.layers)
    nothing = torch.zeros(4, host.slots, dtype=torch.int64)
    return config.batch * config.total_steps * int(learning_pass(trunk, nothing, nothing[0] > 0))


class Meter:
    """Charges the steps of one network; what a kind of step takes is worked out once."""

    def __init__(self, network: GrownNetwork, config: Episode) -> None:
        self._network, self._config = network, config
        self._known: dict[Hashable, int] = {}

    def step(self, drawn: Sequence[float], training: tuple[int, ...]) -> int:
        """Multiply-accumulates of the step just done with factors ``drawn`` and newborns in slots ``training``."""
        network = self._network
        ran, on = (tuple(n for n, alpha in enumerate(alphas) if alpha > 0) for alphas in (drawn, network.alphas()))
        there = tuple(None if seed is None else seed.blueprint.name for seed in network.seeds)
        inside = tuple(life.state for life in network.lives[network.host.slots :])
        kind = (ran, on, training, there, tuple(network.inner), inside)
        if kind not in self._known:
            self._known[kind] = self._worked_out(ran, on, training)
        return self._known[kind]

    def _worked_out(self, ran: Sequence[int], on: Sequence[int], training: tuple[int, ...]) -> int:
        network, config = self._network, self._config
        trunk = tolls(network.host.layers)
        macs = config.batch * learning_pass(trunk, *self._grown(ran))
        for slots in [(slot,) for slot in training] if config.apart else [training] if training else []:
            seeds, there = self._grown([*on, *slots])
            newborn = torch.zeros_like(there)
            seeds[WEIGHTS] = seeds[ENTRY] = 0
            for slot in slots:
                own = toll(network.layers_at(slot, network.seed_at(slot).blueprint))
                outermost = (slot, *network.ancestors(slot))[-1]
                newborn[outermost] = True
                seeds[WEIGHTS, outermost] += own[WEIGHTS]
                seeds[ENTRY, outermost] = own[ENTRY] if outermost == slot else 0
            macs += config.batch * held_pass(trunk, seeds, there, newborn)
        if config.attack:
            macs += config.batch // 2 * probing_pass(trunk, *self._grown(on))
        return int(macs)

    def _grown(self, only: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tolls of what is in the host's slots, of seeds in ``only`` alone, and which slots those are."""
        pieces = self._network.grown(only)
        return tolls(pieces), torch.tensor([bool(piece) for piece in pieces])
