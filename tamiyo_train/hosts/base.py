"""What a host is: trunk pieces with a slot between each two, and what each piece costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

from torch import nn

from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.footprint import Footprint, Layer
from tamiyo_train.slots import Domain, Shape, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """K+1 trunk pieces for K slots: x -> trunk[0] -> slot 0 -> trunk[1] -> ... -> trunk[K] -> logits (batch, classes).

    ``places[k]`` is what passes through slot k; ``layers[k]`` is the closed-form cost of piece k as deployed.
    """

    name: str
    trunk: nn.ModuleList
    places: tuple[Slot, ...]
    layers: tuple[tuple[Layer, ...], ...]

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.places)

    def footprint(self) -> Footprint:
        """Cost of the bare host."""
        return Footprint.of(layer for piece in self.layers for layer in piece)

    @property
    def domain(self) -> Domain:
        """What passes through its slots: the same domain in all of them."""
        return self.places[0].domain


hosts: Registry[Callable[..., Host]] = Registry("hosts")
"""Functions of ``shape`` (of one sample), ``classes``, ``width`` and some of ``depth``, with torch's own generator."""


def made(name: str, *, shape: Shape, classes: int, width: int, depth: int | None = None) -> Host:
    """A new host of that name, by default as deep as it is; raises UsageError when it has no depth to choose."""
    make = hosts.get(name)
    if depth is None:
        return make(shape=shape, classes=classes, width=width)
    if "depth" not in signature(make).parameters:
        deep = " or ".join(other for other, build in hosts if "depth" in signature(build).parameters)
        raise UsageError(f"host '{name}' is as deep as it is, not {depth} layers", hint=f"a depth goes with {deep}")
    return make(shape=shape, classes=classes, width=width, depth=depth)


_AXES = {Domain.SEQUENCE: ("sequences (C, T)", 2), Domain.IMAGE: ("images (C, H, W)", 3)}


def check_samples_fit(host: str, domain: Domain, shape: tuple[int, ...]) -> None:
    """Raise UsageError when samples of ``shape`` are not what a host of sequences or images takes."""
    what, axes = _AXES[domain]
    if len(shape) != axes:
        raise UsageError(
            f"host '{host}' takes {what}; samples of the task have shape {shape}",
            hint="leave the host out for the task's own; mlp and mlp-skip take any shape",
        )
