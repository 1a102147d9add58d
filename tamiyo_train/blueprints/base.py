"""What a blueprint is, and the few parts that blueprints of every domain are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.footprint import Layer
from tamiyo_train.slots import Domain, Slot

Linear = nn.Linear | nn.Conv1d | nn.Conv2d
"""A map that is linear over channels."""


@runtime_checkable
class WithAuxiliaryLoss(Protocol):
    """A seed that is also trained on a loss of its own, beside the task's: ask with ``isinstance``."""

    def auxiliary_loss(self, x: torch.Tensor) -> torch.Tensor:
        """The loss on a batch of what enters the slot, (B, *slot.shape): a scalar, with a graph to the parameters."""
        ...


@runtime_checkable
class WithScore(Protocol):
    """A seed that says of every sample how much it makes of it, as a signal for telemetry."""

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """(B, *slot.shape) -> (B,), each in 0..1."""
        ...


@runtime_checkable
class Deployable(Protocol):
    """A seed that is exported in another form than it is trained in."""

    def deployed(self) -> nn.Module:
        """A module of its own that computes what this one does in evaluation; this one stays as it is."""
        ...


def deployed(module: nn.Module) -> nn.Module:
    """A trained seed as it is exported, in evaluation mode: its own recipe when it is `Deployable`, else a copy."""
    made = module.deployed() if isinstance(module, Deployable) else copy.deepcopy(module)
    return made.eval()


def _anything(slot: Slot) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A kind of seed: y = seed(x) with the residual inside, of x's shape, and y = x at birth.

    ``build`` makes a newborn seed for a slot (weights come from torch's generator), ``layers`` is its closed-form cost,
    layer by layer as deployed. ``config``: what distinguishes presets of one family, for people to read. ``rate``:
    multiplier of the host's learning rate that intensity 1 means; wide sums need smaller steps. ``obstacle``: what a
    slot of the right domain lacks, None when it is fit. ``deploy``: the trained module as it is exported, and
    ``left_out``: what that form does not do any more, and why. ``causal``: on sequences, no step of the output depends
    on a later one of the input, in training as in evaluation.
    """

    name: str
    summary: str
    domains: frozenset[Domain]
    build: Callable[[Slot], nn.Module]
    layers: Callable[[Slot], tuple[Layer, ...]]
    config: dict[str, float] = field(default_factory=dict)
    rate: float = 1.0
    obstacle: Callable[[Slot], str | None] = _anything
    deploy: Callable[[nn.Module], nn.Module] = deployed
    left_out: tuple[str, ...] = ()
    causal: bool = False

    def misfit(self, slot: Slot) -> str | None:
        """Why this blueprint cannot live in a slot; None when it can."""
        if slot.domain not in self.domains:
            return f"works on {', '.join(sorted(self.domains))}; the domain of the slot is {slot.domain}"
        if slot.causal and not self.causal:
            return "looks ahead in time, which the slot must not"
        return self.obstacle(slot)

    def check_fits(self, slot: Slot) -> None:
        """Raise IncompatibleError when it cannot live in the slot."""
        problem = self.misfit(slot)
        if problem is not None:
            raise IncompatibleError(
                f"blueprint '{self.name}' {problem}", hint="tamiyo blueprints shows what fits which domain"
            )


blueprints: Registry[Blueprint] = Registry("blueprints")


def add(blueprint: Blueprint) -> Blueprint:
    """Register a blueprint under its own name."""
    return blueprints.register(blueprint.name)(blueprint)


def zeroed(layer: Linear) -> Linear:
    """The layer with weights and bias set to zero: what makes a residual seed the identity at birth."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def convolution(
    domain: Domain, inputs: int, outputs: int, *, kernel: int = 3, depthwise: bool = False
) -> nn.Conv1d | nn.Conv2d:
    """A convolution along time or over height and width that keeps their length (``kernel`` is odd)."""
    groups = inputs if depthwise else 1
    if domain is Domain.SEQUENCE:
        return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def mix(domain: Domain, inputs: int, outputs: int) -> Linear:
    """A linear map over channels, the same at every position: fully connected, or a convolution of size 1."""
    match domain:
        case Domain.VECTOR:
            return nn.Linear(inputs, outputs)
        case Domain.SEQUENCE:
            return nn.Conv1d(inputs, outputs, 1)
        case Domain.IMAGE:
            return nn.Conv2d(inputs, outputs, 1)
        case Domain.JOINT:
            raise IncompatibleError("a joint tensor has no one channel axis to mix over")


def changed(x: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """x + delta on the channels delta has; the carried ones behind them pass as they are."""
    width = delta.shape[1]
    return x + delta if width == x.shape[1] else torch.cat([x[:, :width] + delta, x[:, width:]], 1)


def blend(module: nn.Module, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """x + alpha (module(x) - x); at 0 and 1 exactly x and module(x), without the arithmetic."""
    if alpha == 0.0:
        return x
    y: torch.Tensor = module(x)
    return y if alpha == 1.0 else x + alpha * (y - x)
