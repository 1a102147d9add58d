"""A figure and where it is from, so that no reader takes an estimate for a measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """How a figure is known."""

    PUBLISHED = "published"
    DERIVED = "derived from published figures"
    MEMORY = "published, quoted from memory"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class Figure:
    """A value of at least 0, how it is known, and the text that says where from."""

    value: float
    basis: Basis
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.value < math.inf:
            raise ValueError(f"a figure of {self.value} is not in [0, inf)")
        if not self.source:
            raise ValueError("a figure needs its source")


def published(value: float, source: str) -> Figure:
    """A figure as its source prints it."""
    return Figure(value, Basis.PUBLISHED, source)


def derived(value: float, source: str) -> Figure:
    """A figure computed from published ones; the source says how."""
    return Figure(value, Basis.DERIVED, source)


def remembered(value: float, source: str) -> Figure:
    """A published figure that was not looked up again: check it before it decides anything."""
    return Figure(value, Basis.MEMORY, source)


def estimated(value: float, source: str) -> Figure:
    """A figure that nobody published; the source says what it is guessed from."""
    return Figure(value, Basis.ESTIMATE, source)
