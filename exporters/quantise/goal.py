"""When int8 is good enough: what it may lose on the real metric, configuration by configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporters.evaluate import Comparison

FULL_LOSS = 0.01
"""Accuracy the full network may lose before something is done about it."""
OTHER_LOSS = 0.02
"""The same for a configuration with fewer seeds: it runs for its price, and there are many to fall below by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is asked of a variant. ``full``: the configuration with all seeds; ``floor``: its least accuracy.

    ``samples`` of the test set: where there are few, one or two answers that flip are no loss worth a remedy.
    """

    full: str
    floor: float
    samples: int

    def missed(self, found: Mapping[str, Comparison]) -> tuple[str, ...]:
        """The configurations that lose too much; empty when the goal is met."""
        return tuple(name for name, item in found.items() if self.shortfall(name, item) > 0)

    def shortfall(self, name: str, item: Comparison) -> float:
        """Accuracy by which a configuration misses what is asked of it; 0 when it does not."""
        loss, flips = (FULL_LOSS, 1) if name == self.full else (OTHER_LOSS, 2)
        allowed = item.torch_accuracy - max(loss, flips / self.samples)
        if name == self.full:
            allowed = max(allowed, self.floor)
        return max(0.0, allowed - item.accuracy - 1e-9)

    def distance(self, found: Mapping[str, Comparison]) -> float:
        """How far off a variant is: the full network's shortfall counts ten times that of any other."""
        return sum(
            self.shortfall(name, item) * (10 if name == self.full else 1 / len(found)) for name, item in found.items()
        )
