"""Gaps while the serving cell changes.

A device that moves crosses a cell's edge every ``spacing_m / speed`` seconds on average, at random moments; the user
plane then stands still for a log-normal time, given by its median and 95th percentile as published. A transfer that
meets a gap waits for its end: seen at a random moment a gap is longer than on average (its density is weighted with its
length, which for a log-normal moves the mean of the logarithm by sigma^2) and what is left of it is uniform.

No failed handover, no ping-pong, no measurement gaps; preparation does not interrupt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulators.cellular.streams import Floats

Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Execution times ``median_ms`` and ``p95_ms`` (bases: their source), and the distance between edges."""

    median_ms: float
    p95_ms: float
    spacing_m: float
    source: str

    def __post_init__(self) -> None:
        if not (0 < self.median_ms < self.p95_ms < math.inf and self.spacing_m > 0):
            raise ValueError(
                f"a handover needs 0 < median {self.median_ms} ms < p95 {self.p95_ms} ms, and cells"
                f" {self.spacing_m} m apart: above 0"
            )

    @property
    def sigma(self) -> float:
        """Of the logarithm."""
        return math.log(self.p95_ms / self.median_ms) / Z95

    @property
    def mean_ms(self) -> float:
        """Of a gap."""
        return self.median_ms * math.exp(self.sigma**2 / 2)

    def share(self, speed_m_s: float) -> float:
        """Of the time that is gap, at most all."""
        return min(1.0, speed_m_s / self.spacing_m * self.mean_ms * 1e-3)

    def gap_ms(self, normal: Floats) -> Floats:
        """Lengths of gaps by standard normals."""
        lengths: Floats = np.exp(normal * np.float32(self.sigma))
        lengths *= np.float32(self.median_ms)
        return lengths

    def left_ms(self, normal: Floats, uniform: Floats) -> Floats:
        """What is left of the gap that a random moment falls into."""
        return self.gap_ms(normal + np.float32(self.sigma)) * uniform
