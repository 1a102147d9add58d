"""What running something costs, and how well that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tamiyo_runtime.contracts.document import require, require_finite


class Source(StrEnum):
    """Where a figure comes from. Printed beside every figure; a simulated one is never called measured."""

    MEASURED = "measured"
    CALIBRATED = "calibrated"
    VELA = "vela"  # cycles counted by the vendor's compiler for Ethos-U
    ANALYTIC = "analytic"
    SIMULATED = "simulated"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its interval and its source. ``low <= value <= high``, all in the unit of the field's name."""

    value: float
    low: float
    high: float
    source: Source

    def __post_init__(self) -> None:
        require_finite(value=self.value, low=self.low, high=self.high)
        require(
            self.low <= self.value <= self.high,
            "value",
            f"{self.low} <= {self.value} <= {self.high} is false",
        )

    def __add__(self, other: Estimate) -> Estimate:
        """Sum of two estimates; errors are taken as fully correlated (they share one profile), so bounds add."""
        source = self.source if self.source == other.source else Source.ANALYTIC
        return Estimate(
            value=self.value + other.value,
            low=self.low + other.low,
            high=self.high + other.high,
            source=source,
        )

    def scaled(self, factor: float) -> Estimate:
        """The estimate multiplied by a non-negative factor."""
        return Estimate(value=self.value * factor, low=self.low * factor, high=self.high * factor, source=self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of one inference of a graph or a chain of graphs.

    ``peak_memory_bytes`` is weights plus the largest set of live activations; ``weight_bytes`` and ``activation_bytes``
    are the two by themselves, 0 in documents from before they were told apart. ``macs`` counts multiply-accumulates.
    ``unclocked_ms``: the part of the latency that a slower clock does not stretch: buses, memories off the chip.
    """

    latency_ms: Estimate
    energy_uj: Estimate
    peak_memory_bytes: int
    params: int
    macs: int
    weight_bytes: int = 0
    activation_bytes: int = 0
    unclocked_ms: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("peak_memory_bytes", "params", "macs", "weight_bytes", "activation_bytes"):
            require(getattr(self, name) >= 0, name, "must not be negative")
        require_finite(unclocked_ms=self.unclocked_ms)
        require(self.unclocked_ms >= 0, "unclocked_ms", "must not be negative")
