"""Modules to padded tensors and back: which linear maps of a seed's module are which of its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.blueprints.bottleneck import BottleneckSeed
from tamiyo_train.blueprints.glu import GluSeed
from tamiyo_train.blueprints.squeeze_excite import SqueezeExciteSeed
from tamiyo_train.population.families import EXCITE, GLU, RESIDUAL, Family, Maps
from tamiyo_train.population.layout import Layout

Parts = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Weight (out, in) and bias (out,) of each linear map, sharing memory with the module's parameters."""


@dataclass(frozen=True, slots=True)
class Kinship:
    """A module's family, and where its maps are."""

    family: Family
    parts: Callable[[nn.Module], Parts]


def _named(*names: str) -> Callable[[nn.Module], Parts]:
    return lambda module: [_part(module.get_submodule(name)) for name in names]


def _part(linear: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(linear, nn.Linear)
    return linear.weight.detach(), linear.bias.detach()


KIN: Mapping[type[nn.Module], Kinship] = MappingProxyType(
    {
        BottleneckSeed: Kinship(RESIDUAL, _named("down", "up")),
        SqueezeExciteSeed: Kinship(EXCITE, _named("reduce", "expand")),
        GluSeed: Kinship(GLU, _named("value", "gate")),
    }
)
"""Seeds that a population can train, by the class of their module. A blueprint of another class is refused by name."""


def kinship(blueprint: Blueprint, module: nn.Module, layout: Layout) -> Kinship:
    """The family of a blueprint's module; raises IncompatibleError when it has none here, or is too wide for it."""
    found = KIN.get(type(module))
    if found is None:
        known = ", ".join(sorted(kind.__name__ for kind in KIN))
        raise IncompatibleError(
            f"blueprint '{blueprint.name}' cannot be trained in a population",
            hint=f"populations train seeds of the classes {known}; others go through Trainer",
        )
    if found.family not in layout.families:
        raise IncompatibleError(
            f"blueprint '{blueprint.name}' is of the family '{found.family.name}', which this population leaves out",
            hint="name the family when the population is made",
        )
    for (weight, _), (out, fan_in) in zip(found.parts(module), layout.seed_shapes(found.family), strict=True):
        if weight.shape[0] > out or weight.shape[1] > fan_in:
            raise IncompatibleError(
                f"blueprint '{blueprint.name}' has a map of {tuple(weight.shape)}, slots are padded to {(out, fan_in)}",
                hint="give the population more inner units",
            )
    return found


def write(maps: Maps, lane: int, parts: Parts) -> None:
    """Put a module's maps into a lane's views, zeros behind them."""
    for (weights, biases), (weight, bias) in zip(maps, parts, strict=True):
        weights[lane].zero_()
        biases[lane].zero_()
        weights[lane, : weight.shape[0], : weight.shape[1]] = weight.to(weights)
        biases[lane, : len(bias), 0] = bias.to(biases)


def read(maps: Maps, lane: int, parts: Parts) -> None:
    """Overwrite a module's maps with a lane's."""
    for (weights, biases), (weight, bias) in zip(maps, parts, strict=True):
        weight.copy_(weights[lane, : weight.shape[0], : weight.shape[1]])
        bias.copy_(biases[lane, : len(bias), 0])


def trunk_parts(trunk: nn.ModuleList) -> Parts:
    """The linear maps of a perceptron's trunk."""
    return [_part(piece.get_submodule("linear")) for piece in trunk]
