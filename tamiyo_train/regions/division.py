"""Regions: a host with many slots, cut into runs of neighbours that one policy can look over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tamiyo_runtime.contracts.document import require

MOST_SLOTS = 8
"""A region has no more slots than this; a host that has no more either is not divided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Slots ``start`` to ``stop`` - 1 of a host."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        require(0 <= self.start < self.stop, "stop", f"a region holds a slot at least, got {self.start} to {self.stop}")

    @property
    def slots(self) -> range:
        """Numbers of its slots."""
        return range(self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start}-{self.stop - 1}"


def divide(slots: int, *, most: int = MOST_SLOTS) -> tuple[Region, ...]:
    """As few regions as hold all slots, with at most ``most`` each, their sizes as equal as can be, larger first."""
    require(slots > 0 and most > 0, "slots", f"must be above 0, got {slots} with at most {most} a region")
    count = -(-slots // most)
    small, larger = divmod(slots, count)
    bounds = [0]
    for number in range(count):
        bounds.append(bounds[-1] + small + (number < larger))
    return tuple(Region(start=low, stop=high) for low, high in pairwise(bounds))


def divided(slots: int) -> tuple[Region, ...]:
    """The regions of a host with so many slots; none where one would hold them all."""
    found = divide(slots)
    return found if len(found) > 1 else ()


def widest(regions: Sequence[Region]) -> int:
    """Slots of the largest region: what a policy that looks over any of them is laid out for."""
    return max(len(region) for region in regions)
