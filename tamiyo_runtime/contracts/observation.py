"""What the policy sees, and how its one output vector is laid out: shared by training, export and the runtime.

An observation is one float32 vector: the global features, then the features of slot 0, slot 1, ... in the order of the
tables in `features`. A feature that is not known in the present phase is 0 and says so through its phase flag
(``running``): nothing is ever made up. Normalisation statistics are frozen at training time and live *inside* the
exported graph.

The output is one vector of raw logits and values; masks and softmax are applied outside the graph, since -inf ruins
int8. ``Heads`` says where each head lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tamiyo_runtime.contracts.errors import IncompatibleError, SchemaError
from tamiyo_runtime.contracts.features import GLOBAL, SLOT, Feature

OBSERVATION = "tamiyo.observation/2"
HEADS = "tamiyo.heads/1"

GLOBAL_FEATURES: tuple[str, ...] = tuple(feature.name for feature in GLOBAL)
"""Names of the global features in their order."""
SLOT_FEATURES: tuple[str, ...] = tuple(feature.name for feature in SLOT)
"""Names of the features of one slot in their order."""


class Operation(IntEnum):
    """What the policy can ask for while a network grows. WAIT is always legal."""

    WAIT = 0
    GERMINATE = 1
    ADVANCE = 2
    PRUNE = 3
    FOSSILISE = 4


INTENSITIES: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0, 3.0)
"""Multipliers of the host's learning rate a new seed can be given; 0 is not expressible, that is WAIT."""


def observation_size(slots: int) -> int:
    """Length of the observation vector of a host with that many slots."""
    return len(GLOBAL_FEATURES) + slots * len(SLOT_FEATURES)


def observe(features: Mapping[str, float], slots: Sequence[Mapping[str, float]]) -> list[float]:
    """The observation vector, each feature clipped to its range; one left out is 0.

    Raises SchemaError on a name that is not a feature and on a value that is not a number.
    """
    vector = _ordered(features, GLOBAL, "global")
    for index, slot in enumerate(slots):
        vector += _ordered(slot, SLOT, f"slot {index}")
    return vector


def _ordered(features: Mapping[str, float], known: tuple[Feature, ...], where: str) -> list[float]:
    values = [feature.clipped(float(features.get(feature.name, 0.0))) for feature in known]
    if unknown := features.keys() - {feature.name for feature in known}:
        raise SchemaError(f"observation ({where})", f"unknown feature '{min(unknown)}'")
    if any(map(math.isnan, values)):
        name = next(feature.name for feature, value in zip(known, values, strict=True) if math.isnan(value))
        raise SchemaError(f"observation ({where})", f"'{name}' is not a number")
    return values


def unspent(limit: float, *, without: float, with_seed: float) -> float:
    """A slot's share of a budget that is left: (limit - with) / (limit - without), within 0..1.

    ``without`` is what all else uses; where that leaves nothing, nothing is left.
    """
    account = limit - without
    return min(max((limit - with_seed) / account, 0.0), 1.0) if account > 0 else 0.0


def check_layout(what: str, *, observation: str, heads: str) -> None:
    """Raise IncompatibleError unless a policy speaks these very layouts: a vector laid out otherwise means nothing.

    ``what`` names whose policy it is, as in "the bundle's policy".
    """
    for kind, found, known in (("observation", observation, OBSERVATION), ("heads", heads, HEADS)):
        if found != known:
            raise IncompatibleError(
                f"{what} uses {kind} layout {found!r}, this version {known!r}",
                hint="use the tamiyo-edge version that made it, or train and export again with this one",
            )


@dataclass(frozen=True, slots=True)
class Heads:
    """Where each head lies in the policy's output vector.

    With S slots, B blueprints (no-op is blueprint 0) and I intensities, row-major:
    ``operation`` (5), ``slot`` given operation (5, S), ``blueprint`` given slot (S, B), ``intensity`` given blueprint
    (B, I), ``gates`` of a running device (S), ``value`` (1), ``safety`` (3: drift risk, rollback need, alert),
    ``hardware`` (2: latency ok, memory ok). All are logits but ``value``.
    """

    slots: int
    blueprints: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every head, in the order they are concatenated."""
        operations, intensities = len(Operation), len(INTENSITIES)
        return {
            "operation": (operations,),
            "slot": (operations, self.slots),
            "blueprint": (self.slots, self.blueprints),
            "intensity": (self.blueprints, intensities),
            "gates": (self.slots,),
            "value": (1,),
            "safety": (3,),
            "hardware": (2,),
        }

    def slices(self) -> dict[str, slice]:
        """Where each head lies in the vector."""
        result: dict[str, slice] = {}
        start = 0
        for name, shape in self.shapes().items():
            result[name] = slice(start, start + math.prod(shape))
            start += math.prod(shape)
        return result

    @property
    def size(self) -> int:
        """Length of the output vector."""
        return sum(math.prod(shape) for shape in self.shapes().values())
