"""Newborn hosts and seeds as rows of a block: the very weights the ordinary environment makes, each built once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.gates import probe_at_birth
from tamiyo_train.hosts import Host
from tamiyo_train.population.convert import kinship, trunk_parts, write
from tamiyo_train.population.layout import Layout
from tamiyo_train.seeding import derive, initialising

Tensor = torch.Tensor
_INITIALISING = threading.Lock()
"""Weights come from torch's one generator: environments that play side by side must take turns at it."""


class Nursery:
    """Rows for hosts and newborns by the seed they are initialised from. Blueprints are probed once, when it is made.

    Raises IncompatibleError for a blueprint a population cannot train, or one that fails its probe at birth.
    """

    def __init__(
        self, build: Callable[[], Host], layout: Layout, blueprints: Sequence[Blueprint], *, dtype: torch.dtype
    ) -> None:
        self.layout = layout
        self.blueprints = tuple(blueprints)
        self._build = build
        self._dtype = dtype
        with initialising(0):
            self._places = build().places
        self.families = [layout.families.index(self._checked(blueprint)) for blueprint in self.blueprints]
        self._hosts: dict[int, Tensor] = {}
        self._newborns: dict[tuple[int, int, int, int], Tensor] = {}

    def host(self, seed: int) -> Tensor:
        """A host's weights (P,), as ``seed`` initialises it."""
        if seed in self._hosts:
            return self._hosts[seed]
        with _INITIALISING:
            with initialising(derive(seed, "host")):
                host = self._build()
            block = torch.zeros(1, self.layout.host_size, dtype=self._dtype)
            write(self.layout.host_maps(block), 0, trunk_parts(host.trunk))
            self._hosts[seed] = block[0]
            return self._hosts[seed]

    def newborn(self, seed: int, slot: int, step: int, number: int) -> Tensor:
        """Weights of blueprint ``number`` born in a slot at a step, (Q,): what `Gardener.germinate` plants."""
        key = (seed, slot, step, number)
        if key in self._newborns:
            return self._newborns[key]
        with _INITIALISING:
            blueprint, place = self.blueprints[number], self._places[slot]
            with initialising(derive(seed, "seed", slot, step)):
                module = blueprint.build(place)
            block = torch.zeros(1, 1, self.layout.seed_size, dtype=self._dtype)
            maps = self.layout.seed_maps(block, 0)[self.families[number]]
            write(maps, 0, kinship(blueprint, module, self.layout).parts(module))
            self._newborns[key] = block[0, 0]
            return self._newborns[key]

    def _checked(self, blueprint: Blueprint) -> object:
        for place in self._places:
            blueprint.check_fits(place)
            with initialising(0):
                module = blueprint.build(place)
            problem = probe_at_birth(module, place)
            if problem is not None:
                raise IncompatibleError(f"blueprint '{blueprint.name}' fails its probe: {problem}")
        return kinship(blueprint, module, self.layout).family
