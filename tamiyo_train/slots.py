"""What a place for a seed is: the tensor that passes, what it means, and which part of it a seed may change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from tamiyo_runtime.contracts.document import require

Shape = tuple[int, ...]
"""Shape of one sample, channels first."""


class Domain(StrEnum):
    """What a tensor means. Blueprints declare which of them they work on."""

    VECTOR = "vector"
    """(features,)"""
    SEQUENCE = "sequence"
    """(channels, time)"""
    IMAGE = "image"
    """(channels, height, width)"""
    JOINT = "joint"
    """(2, channels, time): two modalities side by side, embeddings having time 1"""


_AXES = {Domain.VECTOR: 1, Domain.SEQUENCE: 2, Domain.IMAGE: 3, Domain.JOINT: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place for a seed: ``shape`` of one sample of the tensor that passes, and its domain.

    ``carried``: shape of the network's input, when a vector carries it, flattened, behind its own features: seeds may
    read all of the vector but change only what is before the carried part. ``causal``: what passes at a time step
    must not depend on later ones.
    """

    shape: Shape
    domain: Domain
    carried: Shape | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        axes = _AXES[self.domain]
        require(len(self.shape) == axes, "shape", f"a {self.domain} has {axes} axes, got {list(self.shape)}")
        require(min(self.shape) > 0, "shape", f"every axis must be above 0, got {list(self.shape)}")
        if self.domain is Domain.JOINT:
            require(self.shape[0] == 2, "shape", f"a joint tensor has two modalities, got {self.shape[0]}")
        require(not self.causal or self.domain is Domain.SEQUENCE, "causal", "only a sequence has a future")
        if self.carried is not None:
            require(self.domain is Domain.VECTOR, "carried", "only a vector can carry the network's input")
            require(math.prod(self.carried) < self.shape[0], "carried", "leaves nothing for features")

    @property
    def channels(self) -> int:
        """Channels of the tensor, of each modality when joint; of a vector its features, carried ones included."""
        return self.shape[1] if self.domain is Domain.JOINT else self.shape[0]

    @property
    def writable(self) -> int:
        """Channels a seed may change: the first ones."""
        return self.channels - (0 if self.carried is None else math.prod(self.carried))

    @property
    def positions(self) -> int:
        """Places a channel has a value at: 1 of a vector, time steps, or pixels; of a joint tensor those of both."""
        return self.elements // self.channels

    @property
    def elements(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)


def vector(features: int, *, carried: Shape | None = None) -> Slot:
    """A slot on vectors."""
    return Slot(shape=(features,), domain=Domain.VECTOR, carried=carried)


def sequence(channels: int, time: int, *, causal: bool = False) -> Slot:
    """A slot on sequences."""
    return Slot(shape=(channels, time), domain=Domain.SEQUENCE, causal=causal)


def image(channels: int, height: int, width: int) -> Slot:
    """A slot on images."""
    return Slot(shape=(channels, height, width), domain=Domain.IMAGE)


def joint(channels: int, time: int = 1) -> Slot:
    """A slot on two modalities side by side."""
    return Slot(shape=(2, channels, time), domain=Domain.JOINT)
