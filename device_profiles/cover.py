"""Which graphs an inference invokes: a network runs in pieces, or in one graph where boundaries are dear.

The rule that exports choose layouts by, told of a chain: what growth and its gates pay is what the bundle costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
BOUNDARY_SHARE = 0.05
"""Share of a whole network's latency that the boundaries between its pieces may cost."""


def dear(boundaries_ms: float, whole_ms: float) -> bool:
    """Whether the boundaries between the pieces of a network cost too much beside the network in one graph."""
    return boundaries_ms > BOUNDARY_SHARE * whole_ms


def joined(graphs: Sequence[Sequence[T]]) -> list[list[T]]:
    """The pieces as one graph."""
    return [[part for graph in graphs for part in graph]]
