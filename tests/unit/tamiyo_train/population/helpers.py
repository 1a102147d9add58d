"""One small task, and the same life lived by a network of modules and by a lane."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch

from tamiyo_train.blueprints import OFFERED, Domain, blueprints
from tamiyo_train.config import Episode
from tamiyo_train.data import Labelled, Tensors, data_of
from tamiyo_train.gardener import Gardener
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.population import Population
from tamiyo_train.pricing import Pricer
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.trainer import Trainer

EPISODE = Episode(
    steps=160, decisions=16, consolidation_steps=20, batch=32, learning_rate=1e-2, gate_dropout=0.4, blend_windows=2.0
)


def builder(name: str = "mlp", width: int = 6):
    """Makes hosts for the spirals."""
    return functools.partial(hosts.get(name), shape=(2,), classes=2, width=width)


def spirals(dtype: torch.dtype = torch.float32) -> Tensors:
    """The spirals in some precision."""
    data = data_of("spirals")

    def cast(split: Labelled) -> Labelled:
        return Labelled(x=split.x.to(dtype), y=split.y)

    return replace(
        data,
        variants=data.variants.to(dtype),
        gate=cast(data.gate),
        score=cast(data.score),
        validation=cast(data.validation),
        test=cast(data.test),
    )


def population(
    *, lanes: int = 3, dtype: torch.dtype = torch.float32, host: str = "mlp", config: Episode = EPISODE, **options
) -> Population:
    """Lanes with seeds 0, 1, 2, ..."""
    made = Population(builder(host), spirals(dtype), config, lanes=lanes, **options)
    for lane in range(lanes):
        made.fill(lane, seed=lane)
    return made


class Ordinary:
    """A network of modules with its trainer and gardener, from the same seed as a lane."""

    def __init__(
        self, seed: int, *, dtype: torch.dtype = torch.float32, host: str = "mlp", config: Episode = EPISODE
    ) -> None:
        with initialising(derive(seed, "host")):
            built: Host = builder(host)()
        self.dtype = dtype
        self.network = GrownNetwork(built, lambda transition: None).to(dtype)
        self.trainer = Trainer(self.network, spirals(dtype), config, seed=seed)
        pricer = Pricer(None)
        offered = [blueprints.get(name) for name in OFFERED[Domain.VECTOR]]
        self.gardener = Gardener(
            self.trainer,
            blueprints=offered,
            pricer=pricer,
            budget=pricer.default_budget(built.layers),
            seed=seed,
        )

    def germinate(self, slot: int, name: str) -> None:
        """At the blueprint's own rate: intensity 1."""
        names = [blueprint.name for blueprint in self.gardener.blueprints]
        self.gardener.germinate(slot, names.index(name), 2)
        self.network.to(self.dtype)


def worst(a: torch.nn.Module, b: torch.nn.Module) -> float:
    """Largest difference between the tensors of two networks."""
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
