"""What there is to grow, as data: every blueprint with its cost in a stated slot, and the actions that are no seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tamiyo_runtime.contracts.errors import IncompatibleError, UsageError
from tamiyo_train.blueprints import OFFERED, Blueprint, blueprints
from tamiyo_train.footprint import Footprint, Kind
from tamiyo_train.slots import Domain, Slot, image, joint, sequence, vector

CHANNELS = 16
TIME = 20
SIDE = 8
CARRIED = (1, 40)

ACTIONS = {"pruning": "an action, no seed: removes the seed of least counterfactual worth; 0 parameters"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A blueprint in a slot. ``kinds``: of its layers, each once; ``offered``: domains whose policy has it."""

    blueprint: Blueprint
    slot: Slot
    cost: Footprint
    kinds: tuple[Kind, ...]
    offered: tuple[Domain, ...]


def stated_slot(domain: Domain, channels: int = CHANNELS, *, carrying: bool = False) -> Slot:
    """The slot that costs are listed for; ``carrying``: a vector with the input of MNIST-1D behind its features.

    Raises UsageError for less than one channel.
    """
    if channels < 1:
        raise UsageError(f"a slot has 1 channel or more, got {channels}")
    match domain:
        case Domain.VECTOR:
            behind = CARRIED[0] * CARRIED[1]
            return vector(channels + behind, carried=CARRIED) if carrying else vector(channels)
        case Domain.SEQUENCE:
            return sequence(channels, TIME)
        case Domain.IMAGE:
            return image(channels, SIDE, SIDE)
        case Domain.JOINT:
            return joint(channels)


def entries(names: Sequence[str] = (), *, domain: Domain | None = None, channels: int = CHANNELS) -> tuple[Entry, ...]:
    """The named blueprints, or all of them: in a domain's slot, or each in that of the first domain it works on.

    Without names, those that don't work on the domain are left out. Raises UnknownNameError with near names, and
    IncompatibleError for a named blueprint that does not fit the domain.
    """
    chosen = [blueprints.get(name) for name in names] or [blueprint for _, blueprint in blueprints]
    found = []
    for blueprint in chosen:
        slot = _fitting(blueprint, domain, channels)
        if slot is not None:
            found.append(_entry(blueprint, slot))
        elif names:
            assert domain is not None
            raise IncompatibleError(
                f"blueprint '{blueprint.name}' {blueprint.misfit(stated_slot(domain, channels))}",
                hint=f"tamiyo blueprints --domain {domain} lists what does",
            )
    return tuple(found)


def _fitting(blueprint: Blueprint, domain: Domain | None, channels: int) -> Slot | None:
    domains = [item for item in Domain if item in blueprint.domains] if domain is None else [domain]
    slots = [stated_slot(item, channels, carrying=carrying) for item in domains for carrying in (False, True)]
    return next((slot for slot in slots if blueprint.misfit(slot) is None), None)


def _entry(blueprint: Blueprint, slot: Slot) -> Entry:
    layers = blueprint.layers(slot)
    return Entry(
        blueprint=blueprint,
        slot=slot,
        cost=Footprint.of(layers),
        kinds=tuple(dict.fromkeys(layer.kind for layer in layers)),
        offered=tuple(domain for domain, names in OFFERED.items() if blueprint.name in names),
    )
