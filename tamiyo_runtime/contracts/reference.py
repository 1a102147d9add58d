"""What a network's input and its certainty looked like where all was well: what monitors on a device compare with.

Every limit is itself a figure of one of the reference's samples: the k-th smallest or largest, k being fixed before
the samples were seen. How often a new sample of the same kind lies strictly beyond it is then known up to a confidence
that depends on k and the number of samples alone (`tamiyo_runtime.detector.rate_bound`), whatever the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tamiyo_runtime.contracts.document import require, require_finite

MAX_SAMPLES = 10**8
"""Of a reference: what a device computes from it takes a time that grows with the root of their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A closed interval, in raw units of the sensor."""

    low: float
    high: float

    def __post_init__(self) -> None:
        require_finite(low=self.low, high=self.high)
        require(self.low <= self.high, "low", f"{self.low} is above high, {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Limits taken from ``samples`` samples; ``source`` says which ones.

    ``raw``: all values of a sample lie in it. ``mean`` and ``deviation``: so do the mean and the standard deviation
    over a sample's values. ``confidence``: variant -> configuration -> the least softmax confidence of an answer.
    ``*_rank``: how many of the samples lie on or beyond the limits, counted side by side; one less than that is what
    a bound of the rate takes as events.
    """

    source: str
    samples: int
    raw: Span
    raw_rank: int
    mean: Span
    deviation: Span
    level_rank: int
    confidence: Mapping[str, Mapping[str, float]]
    confidence_rank: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.samples <= MAX_SAMPLES, "samples", f"must not exceed {MAX_SAMPLES}, got {self.samples}")
        for name in ("raw_rank", "level_rank", "confidence_rank"):
            rank = getattr(self, name)
            require(1 <= rank < self.samples, name, f"must be in [1, {self.samples} samples), got {rank}")
        for variant, limits in self.confidence.items():
            for configuration, limit in limits.items():
                possible = math.isfinite(limit) and 0 <= limit <= 1
                require(possible, "confidence", f"{variant}/{configuration}: must be in [0, 1], got {limit}")
