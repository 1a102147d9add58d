"""A host with seeds in its slots: blending, the held pass that trains a newborn, evaluation that changes nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from tamiyo_train.blueprints import Blueprint, WithInnerSlots
from tamiyo_train.blueprints.base import blend
from tamiyo_train.footprint import Layer
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import LifeCycle, State, Transition
from tamiyo_train.slots import Slot

__all__ = ["GrownNetwork", "Inner", "Seed", "blend", "cosine_ramp", "evaluating", "held_loss", "norms_held"]


@dataclass(slots=True, kw_only=True)
class Seed:
    """One blueprint instance in a slot. ``alpha`` is the blending factor that `GrownNetwork` uses, 0..1.

    ``rate``: multiplier of the host's learning rate; ``born_step``: step of germination; ``blend_position``: progress
    of the ramp, 0..1; ``evidence``: sureness with minus without the seed, sample by sample (N,), one tensor for each
    evaluation on probation.
    """

    blueprint: Blueprint
    module: nn.Module
    rate: float
    born_step: int
    alpha: float = 0.0
    blend_position: float = 0.0
    evidence: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Inner:
    """Where a slot inside a seed is: the ``parent``'s slot and which of its inner slots."""

    parent: int
    index: int


def cosine_ramp(position: float) -> float:
    """Blending factor at a position 0..1 of the ramp: 0 and 1 at the ends, flat there, monotonic."""
    return 0.5 - 0.5 * math.cos(math.pi * min(max(position, 0.0), 1.0))


def kept_whole(module: nn.Module, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """`blend`, held to what every seed promises; raises RuntimeError, which the governor takes for a broken seed.

    A host may cut what passes to size and never notice, and a pass without a graph says nothing of a changed input.
    """
    if alpha == 0.0:
        return x
    version = x._version
    y = blend(module, x, alpha)
    if y.shape != x.shape:
        raise RuntimeError(f"a seed turned {tuple(x.shape)} into {tuple(y.shape)}")
    if x._version != version:
        raise RuntimeError("a seed changed its input in place")
    return y


class GrownNetwork(nn.Module):
    """A host's trunk with a life cycle and perhaps a seed in every slot. ``forward``: (B, *input) -> (B, classes).

    Slots 0..K-1 are the host's. The ``nested_slots`` numbers behind them are free until a fossilised seed exposes the
    slots inside it; ``inner[i]`` then says where slot K+i is.
    """

    def __init__(self, host: Host, audit: Callable[[Transition], None], *, nested_slots: int = 0) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.host = host
        self.trunk = host.trunk
        self.seeds: list[Seed | None] = [None] * (host.slots + nested_slots)
        self.inner: list[Inner | None] = [None] * nested_slots
        self.lives = tuple(LifeCycle(slot, audit) for slot in range(self.slots))

    @property
    def slots(self) -> int:
        """Slot numbers there are, those for slots inside seeds included."""
        return len(self.seeds)

    def forward(self, x: torch.Tensor, alphas: Sequence[float] | None = None) -> torch.Tensor:
        """Logits; ``alphas`` overrides the seeds' own blending factors (0 where there is no seed).

        Factors of the host's slots alone leave those of inner slots as they are.
        """
        return self.between(self.trunk[0](x), self.alphas() if alphas is None else alphas)

    def between(
        self, x: torch.Tensor, alphas: Sequence[float], *, start: int = 0, stop: int | None = None
    ) -> torch.Tensor:
        """From what enters the host's slot ``start`` to what enters slot ``stop``, or to the logits if that is None."""
        with self._inner_alphas(alphas):
            for slot in range(start, self.host.slots if stop is None else stop):
                seed = self.seeds[slot]
                if seed is not None:
                    x = kept_whole(seed.module, x, alphas[slot])
                x = self.trunk[slot + 1](x)
        return x

    def entering(self, x: torch.Tensor, alphas: Sequence[float], slot: int) -> torch.Tensor:
        """What enters a slot that holds a seed, inner slots included, of a batch of inputs ``x``."""
        if slot < self.host.slots:
            return self.between(self.trunk[0](x), alphas, stop=slot)
        seen: list[torch.Tensor] = []

        def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.append(inputs[0])

        lineage = {slot, *self.ancestors(slot)}
        with_it = [1.0 if other in lineage else alpha for other, alpha in enumerate(alphas)]
        handle = self.seed_at(slot).module.register_forward_pre_hook(note)
        try:
            self.between(self.trunk[0](x), with_it)
        finally:
            handle.remove()
        return seen[0]

    def plant(self, slot: int, seed: Seed | None) -> None:
        """Put a seed into a slot, or take out the one that is there."""
        if slot >= self.host.slots:
            self._plant_inside(slot, seed)
        else:
            name = f"seed_{slot}"
            if name in self._modules:
                del self._modules[name]
            if seed is not None:
                self.add_module(name, seed.module)
        self.seeds[slot] = seed

    def expose(self, slot: int) -> tuple[int, ...]:
        """Give numbers to the slots inside a seed, as far as there are free ones; none when it has none inside."""
        free = self.inner.count(None)
        return tuple(self.open(slot, index) for index in range(min(free, self.rooms(slot))))

    def open(self, slot: int, index: int) -> int:
        """Give the first free number to one slot inside a seed."""
        free = self.inner.index(None)
        number = self.host.slots + free
        self.inner[free] = Inner(slot, index)
        self.lives[number].path = f"{self.lives[slot].path}.{index}"
        return number

    def close(self, slot: int) -> None:
        """Give back the number of an inner slot that holds nothing."""
        assert self.seeds[slot] is None, f"slot {self.lives[slot].path} still holds a seed"
        self.inner[slot - self.host.slots] = None
        self.lives[slot].path = str(slot)

    def place(self, slot: int) -> Slot | None:
        """What passes through a slot; None while the number belongs to no slot."""
        if slot < self.host.slots:
            return self.host.places[slot]
        inner = self.inner[slot - self.host.slots]
        return None if inner is None else self._around(inner).places[inner.index]

    def rooms(self, slot: int) -> int:
        """How many slots the seed of a slot has inside, open or not."""
        module = self.seed_at(slot).module
        return len(module.places) if isinstance(module, WithInnerSlots) else 0

    def inside(self, slot: int) -> tuple[int, ...]:
        """Numbers of the slots inside a slot's seed."""
        return tuple(
            self.host.slots + i for i, inner in enumerate(self.inner) if inner is not None and inner.parent == slot
        )

    def ancestors(self, slot: int) -> tuple[int, ...]:
        """The slots a slot lies in, the nearest first; none of a slot of the host."""
        found: list[int] = []
        while slot >= self.host.slots:
            inner = self.inner[slot - self.host.slots]
            assert inner is not None, f"slot {slot} is not open"
            slot = inner.parent
            found.append(slot)
        return tuple(found)

    def outermost_first(self) -> tuple[int, ...]:
        """The slots there are, each after those it lies in: numbers are given anew, their order says nothing."""
        there = [slot for slot in range(self.slots) if slot < self.host.slots or self.inner[slot - self.host.slots]]
        return tuple(sorted(there, key=lambda slot: len(self.ancestors(slot))))

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

    def layers_at(self, slot: int, blueprint: Blueprint) -> tuple[Layer, ...]:
        """Closed-form cost of a blueprint in a slot that is open."""
        place = self.place(slot)
        assert place is not None, f"slot {slot} is not open"
        return blueprint.layers(place)

    def graphs(
        self, *, extra: tuple[int, Blueprint] | None = None, only: Sequence[int] | None = None
    ) -> list[tuple[Layer, ...]]:
        """Closed-form cost of every piece in running order, as deployed; a seed's piece holds what grows inside it.

        ``extra``: a blueprint as if it sat in that slot; ``only``: count seeds of these slots alone, and the fossilised
        ones inside them.
        """
        pieces = [self.host.layers[0]]
        for slot in range(self.host.slots):
            pieces.append(self._piece(slot, extra, only))
            pieces.append(self.host.layers[slot + 1])
        return [piece for piece in pieces if piece]

    def grown(self, only: Sequence[int]) -> list[tuple[Layer, ...]]:
        """Closed-form cost of what is in each of the host's slots, see `graphs`; nothing where there is no seed."""
        return [self._piece(slot, None, only) for slot in range(self.host.slots)]

    def _piece(self, slot: int, extra: tuple[int, Blueprint] | None, only: Sequence[int] | None) -> tuple[Layer, ...]:
        seed = self.seeds[slot]
        if extra is not None and extra[0] == slot:
            return self.layers_at(slot, extra[1])
        inside = slot >= self.host.slots and self.lives[slot].state is State.FOSSILISED
        if seed is None or not (only is None or slot in only or inside):
            return ()
        own = self.layers_at(slot, seed.blueprint)
        return sum((self._piece(child, extra, only) for child in self.inside(slot)), own)

    def _around(self, inner: Inner) -> WithInnerSlots:
        module = self.seed_at(inner.parent).module
        assert isinstance(module, WithInnerSlots), f"the seed of slot {inner.parent} has no slots inside"
        return module

    def _plant_inside(self, slot: int, seed: Seed | None) -> None:
        inner = self.inner[slot - self.host.slots]
        if inner is None:
            assert seed is None, f"slot {slot} is not open"
            return
        around = self._around(inner)
        if around.planted[inner.index] is not None:
            around.uproot(inner.index)
        if seed is not None:
            around.plant(inner.index, seed.module)
            around.set_alpha(inner.index, seed.alpha)

    @contextmanager
    def _inner_alphas(self, alphas: Sequence[float]) -> Iterator[None]:
        """The given blending factors inside the seeds too; the seeds' own again afterwards."""
        grown = [
            (self._around(inner), inner.index, slot, seed.alpha)
            for slot, inner in enumerate(self.inner, self.host.slots)
            if inner is not None and (seed := self.seeds[slot]) is not None
        ]
        for around, index, slot, own in grown:
            around.set_alpha(index, alphas[slot] if slot < len(alphas) else own)
        try:
            yield
        finally:
            for around, index, _, own in grown:
                around.set_alpha(index, own)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode is as before afterwards.

    A grown network is locked meanwhile: another thread must neither train in this mode nor have its own taken away.
    """
    with network.lock if isinstance(network, GrownNetwork) else nullcontext():
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
    first = min((slot, *network.ancestors(slot))[-1] for slot in slots)
    params = [p for slot in slots for p in network.seed_at(slot).module.parameters()]
    with norms_held(network):
        with torch.no_grad():
            entering = network.between(network.trunk[0](x), alphas, stop=first)
        loss = criterion(network.between(entering, alphas, start=first))
    if params:
        for param, gradient in zip(params, torch.autograd.grad(loss, params, allow_unused=True), strict=True):
            if gradient is not None:  # a loss of the seed's own may have left some already
                param.grad = gradient if param.grad is None else param.grad + gradient
    return loss.detach()
