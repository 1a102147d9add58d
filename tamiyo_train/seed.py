"""A host with seeds in its slots: blending, the held pass that trains a newborn, evaluation that changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.footprint import Layer
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import LifeCycle, State, Transition


@dataclass(slots=True, kw_only=True)
class Seed:
    """One blueprint instance in a slot. ``alpha`` is the blending factor that `GrownNetwork` uses, 0..1.

    ``rate``: multiplier of the host's learning rate; ``born_step``: step of germination; ``blend_position``: progress
    of the ramp, 0..1.
    """

    blueprint: Blueprint
    module: nn.Module
    rate: float
    born_step: int
    alpha: float = 0.0
    blend_position: float = 0.0


def cosine_ramp(position: float) -> float:
    """Blending factor at a position 0..1 of the ramp: 0 and 1 at the ends, flat there, monotonic."""
    return 0.5 - 0.5 * math.cos(math.pi * min(max(position, 0.0), 1.0))


def blend(module: nn.Module, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """x + alpha (module(x) - x); at 0 and 1 exactly x and module(x), without the arithmetic."""
    if alpha == 0.0:
        return x
    y: torch.Tensor = module(x)
    return y if alpha == 1.0 else x + alpha * (y - x)


class GrownNetwork(nn.Module):
    """A host's trunk with a life cycle and perhaps a seed in every slot. ``forward``: (B, *input) -> (B, classes)."""

    def __init__(self, host: Host, audit: Callable[[Transition], None]) -> None:
        super().__init__()
        self.host = host
        self.trunk = host.trunk
        self.seeds: list[Seed | None] = [None] * host.slots
        self.lives = tuple(LifeCycle(slot, audit) for slot in range(host.slots))

    def forward(self, x: torch.Tensor, alphas: Sequence[float] | None = None) -> torch.Tensor:
        """Logits; ``alphas`` overrides the seeds' own blending factors (0 where there is no seed)."""
        return self.between(self.trunk[0](x), self.alphas() if alphas is None else alphas)

    def between(
        self, x: torch.Tensor, alphas: Sequence[float], *, start: int = 0, stop: int | None = None
    ) -> torch.Tensor:
        """From what enters slot ``start`` to what enters slot ``stop``, or to the logits when that is None."""
        for slot in range(start, self.host.slots if stop is None else stop):
            seed = self.seeds[slot]
            if seed is not None:
                x = blend(seed.module, x, alphas[slot])
            x = self.trunk[slot + 1](x)
        return x

    def plant(self, slot: int, seed: Seed | None) -> None:
        """Put a seed into a slot, or take out the one that is there."""
        name = f"seed_{slot}"
        if name in self._modules:
            del self._modules[name]
        if seed is not None:
            self.add_module(name, seed.module)
        self.seeds[slot] = seed

    def alphas(self) -> tuple[float, ...]:
        """Present blending factors; 0 where there is no seed."""
        return tuple(0.0 if seed is None else seed.alpha for seed in self.seeds)

    def slots_in(self, *states: State) -> tuple[int, ...]:
        """Slots whose life is in one of the states."""
        return tuple(slot for slot, life in enumerate(self.lives) if life.state in states)

    def seed_at(self, slot: int) -> Seed:
        """The seed of a slot that is known to hold one."""
        seed = self.seeds[slot]
        assert seed is not None, f"slot {slot} is {self.lives[slot].state} and holds no seed"
        return seed

    def graphs(
        self, *, extra: tuple[int, Blueprint] | None = None, only: Sequence[int] | None = None
    ) -> list[tuple[Layer, ...]]:
        """Closed-form cost of every piece in running order, as deployed.

        ``extra``: a blueprint as if it sat in that slot; ``only``: count seeds of these slots alone.
        """
        pieces = [self.host.layers[0]]
        for slot, seed in enumerate(self.seeds):
            if extra is not None and extra[0] == slot:
                pieces.append(extra[1].layers(self.host.places[slot]))
            elif seed is not None and (only is None or slot in only):
                pieces.append(seed.blueprint.layers(self.host.places[slot]))
            pieces.append(self.host.layers[slot + 1])
        return [piece for piece in pieces if piece]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode is as before afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def norms_held(network: nn.Module) -> Iterator[None]:
    """Batch norms use their running statistics and leave them as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    modes = [norm.training for norm in norms]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.training = mode


def held_loss(
    network: GrownNetwork,
    x: torch.Tensor,
    slots: Sequence[int],
    criterion: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Task loss with the seeds of ``slots`` fully on and everything else held; fills the gradients of those seeds only.

    What lies before the first of them runs without a graph, what lies behind passes gradients back but receives
    none, and batch norms keep their statistics: the host is exactly as it was.
    """
    alphas = list(network.alphas())
    for slot in slots:
        alphas[slot] = 1.0
    first = min(slots)
    params = [p for slot in slots for p in network.seed_at(slot).module.parameters()]
    with norms_held(network):
        with torch.no_grad():
            entering = network.between(network.trunk[0](x), alphas, stop=first)
        loss = criterion(network.between(entering, alphas, start=first))
    if params:
        for param, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
            param.grad = gradient
    return loss.detach()
