"""Nested seed: a residual block with two slots inside it, in which further seeds can grow.

    y = x + up(slot 1(relu(middle(slot 0(relu(down(x)))))))

``down`` maps d channels to k = max(d/2, 4), ``middle`` k to k, ``up`` k to d.

``up`` is zero at birth, so that the block is the identity whatever grows inside. Seeds in inner slots are blended in by
a factor each; without children the block costs dk + k*k + kd + 2k + d parameters, and every child adds its own.

A seed in a slot of the host has depth 1, its children have 2, theirs 3: deeper is not allowed, so a nested seed of
depth 3 has no inner slots.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from tamiyo_runtime.contracts.errors import IncompatibleError, UsageError
from tamiyo_train import footprint
from tamiyo_train.blueprints.base import Blueprint, add, blend, changed, deployed, mix, zeroed
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Slot

MAX_DEPTH = 3
INNER_SLOTS = 2


@runtime_checkable
class WithInnerSlots(Protocol):
    """A seed in which seeds can grow; ask with ``isinstance``."""

    @property
    def depth(self) -> int:
        """1 in a slot of the host, 2 in a slot of such a seed, ..."""
        ...

    @property
    def places(self) -> tuple[Slot, ...]:
        """The inner slots, two at most."""
        ...

    @property
    def planted(self) -> tuple[nn.Module | None, ...]:
        """What grows in each inner slot."""
        ...

    @property
    def alphas(self) -> tuple[float, ...]:
        """The children's blending factors, 0 where there is none. They are not part of the state dict."""
        ...

    def plant(self, index: int, module: nn.Module) -> None:
        """Put a seed into an inner slot, blended in by 0.

        Raises UsageError without such a slot or when it is taken, IncompatibleError when the depth limit is passed;
        nothing has changed then.
        """
        ...

    def uproot(self, index: int) -> nn.Module:
        """Take the seed of an inner slot out and return it; raises UsageError when there is none."""
        ...

    def set_alpha(self, index: int, alpha: float) -> None:
        """Set a child's blending factor, 0..1; raises UsageError for any other number, or without a child there."""
        ...


class NestedSeed(nn.Module):
    """(B, d, ...) -> (B, d, ...); a `WithInnerSlots`. Children are sub-modules ``child_0`` and ``child_1``."""

    def __init__(self, slot: Slot, inner: int) -> None:
        super().__init__()
        self._inner = inner_slot(slot, inner)
        self._depth = 1
        self._alphas = [0.0] * INNER_SLOTS
        self.down = mix(slot.domain, slot.channels, inner)
        self.middle = mix(slot.domain, inner, inner)
        self.act = nn.ReLU()
        self.up = zeroed(mix(slot.domain, inner, slot.writable))
        for index in range(INNER_SLOTS):
            self.register_module(_name(index), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what the block and its children make of it."""
        hidden = self._grown(0, self.act(self.down(x)))
        hidden = self._grown(1, self.act(self.middle(hidden)))
        return changed(x, self.up(hidden))

    @property
    def depth(self) -> int:
        """1 in a slot of the host, 2 in a slot of such a seed, ..."""
        return self._depth

    @property
    def places(self) -> tuple[Slot, ...]:
        """The inner slots; none at the greatest depth."""
        return (self._inner,) * INNER_SLOTS if self._depth < MAX_DEPTH else ()

    @property
    def planted(self) -> tuple[nn.Module | None, ...]:
        """What grows in each inner slot."""
        return tuple(self._modules[_name(index)] for index in range(len(self.places)))

    @property
    def alphas(self) -> tuple[float, ...]:
        """The children's blending factors, 0 where there is none."""
        return tuple(self._alphas[: len(self.places)])

    def plant(self, index: int, module: nn.Module) -> None:
        """Put a seed into an inner slot, blended in by 0."""
        if self._at(index) is not None:
            raise UsageError(f"inner slot {index} is taken", hint="uproot what grows there first")
        deepest = self._depth + _height(module)
        if deepest > MAX_DEPTH:
            raise IncompatibleError(
                f"seeds would be nested {deepest} deep, {MAX_DEPTH} is the limit",
                hint="plant a seed without inner slots, or nearer to the host",
            )
        self.add_module(_name(index), module)
        self._alphas[index] = 0.0
        _set_depth(module, self._depth + 1)

    def uproot(self, index: int) -> nn.Module:
        """Take the seed of an inner slot out and return it."""
        child = self._child(index)
        self.register_module(_name(index), None)
        self._alphas[index] = 0.0
        _set_depth(child, 1)
        return child

    def set_alpha(self, index: int, alpha: float) -> None:
        """Set a child's blending factor, 0..1."""
        self._child(index)
        if not 0.0 <= alpha <= 1.0:
            raise UsageError(f"a blending factor lies in 0..1, got {alpha}")
        self._alphas[index] = float(alpha)

    def deployed(self) -> nn.Module:
        """A copy with the children frozen: as deployed where they are on, left out where they are off."""
        made = copy.deepcopy(self)
        for index, child in enumerate(self.planted):
            if child is not None:
                made.register_module(_name(index), deployed(child) if self._alphas[index] else None)
        return made

    def _grown(self, index: int, x: torch.Tensor) -> torch.Tensor:
        child = self._modules[_name(index)]
        return x if child is None else blend(child, x, self._alphas[index])

    def _at(self, index: int) -> nn.Module | None:
        if not 0 <= index < len(self.places):
            known = f"it has {len(self.places)}" if self.places else f"a seed of depth {self._depth} has none"
            raise UsageError(f"there is no inner slot {index}: {known}")
        return self._modules[_name(index)]

    def _child(self, index: int) -> nn.Module:
        child = self._at(index)
        if child is None:
            raise UsageError(f"nothing grows in inner slot {index}")
        return child


def with_children(own: Sequence[Layer], children: Iterable[Sequence[Layer]]) -> tuple[Layer, ...]:
    """Closed-form cost of a seed and of what grows in it: ``children`` are the layers of each child, of its own
    children too, blended in fully.
    """
    return (*own, *chain.from_iterable(children))


def inner_slot(slot: Slot, inner: int) -> Slot:
    """What passes through the slots inside: ``inner`` channels at the positions of the outer slot."""
    return Slot(shape=(inner, *slot.shape[1:]), domain=slot.domain)


def _name(index: int) -> str:
    return f"child_{index}"


def _height(module: nn.Module) -> int:
    """Levels of seeds in a module: 1 for one without children."""
    if not isinstance(module, WithInnerSlots):
        return 1
    return 1 + max((_height(child) for child in module.planted if child is not None), default=0)


def _set_depth(module: nn.Module, depth: int) -> None:
    if isinstance(module, NestedSeed):
        module._depth = depth
        for child in module.planted:
            if child is not None:
                _set_depth(child, depth + 1)


def _width(slot: Slot) -> int:
    return max(slot.writable // 2, 4)


def _layers(slot: Slot) -> tuple[Layer, ...]:
    inner = _width(slot)
    inside = inner_slot(slot, inner)
    return (
        footprint.mix(slot, slot.channels, inner),
        footprint.activation(inside.elements),
        footprint.mix(slot, inner, inner),
        footprint.activation(inside.elements),
        footprint.mix(slot, inner, slot.writable),
        *footprint.changed(slot),
    )


NESTED = add(
    Blueprint(
        name="nested",
        summary="a residual block with two slots inside, in which further seeds can grow",
        domains=frozenset({Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE}),
        build=lambda slot: NestedSeed(slot, _width(slot)),
        layers=_layers,
        config={"inner_slots": INNER_SLOTS, "max_depth": MAX_DEPTH},
    )
)
