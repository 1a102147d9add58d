"""A sketch of many positive numbers that can be added to others' and still says honest quantiles.

Percentiles of windows cannot be merged; sketches can, in any order. Numbers are counted in buckets whose bounds grow by
a constant factor, so that a quantile is wrong by at most `RELATIVE_ERROR` of itself, whatever the numbers are
(DDSketch: Masson, Rim, Lee, VLDB 2019). Where bytes are dear a sketch is made coarser: two neighbouring buckets become
one, which about doubles the error (UDDSketch: Epicoco et al., 2020); such a sketch says so with its ``level``, and
merges with every other.

It keeps no order, no sum and no exact extremes. Standard library only: device and collector share it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tamiyo_runtime.contracts.document import require

RELATIVE_ERROR = 0.02
"""Of a quantile at level 0."""
MAX_LEVEL = 4
MAX_INDEX = 1 << 11
"""Above every bucket of a number that fits 63 bits."""

_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_E = 1 / math.log(_GROWTH)  # buckets to a factor of e


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """``buckets``: (index, count) in ascending order, empty ones left out.

    With g = 1.02 / 0.98 and h = g ** 2 ** level, bucket i counts numbers in (h ** (i - 1), h ** i]; bucket 0 counts
    0 and 1. Raises SchemaError for anything else.
    """

    level: int = 0
    buckets: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        require(0 <= self.level <= MAX_LEVEL, "level", f"must be 0..{MAX_LEVEL}, got {self.level}")
        for index, count in self.buckets:
            require(0 <= index < MAX_INDEX, "buckets", f"no bucket {index}")
            require(count > 0, "buckets", f"bucket {index} counts {count}")
        for (before, _), (after, _) in pairwise(self.buckets):
            require(before < after, "buckets", f"bucket {after} is out of order")

    @property
    def count(self) -> int:
        """How many numbers there were."""
        return sum(count for _, count in self.buckets)

    @property
    def relative_error(self) -> float:
        """Bound on what a quantile is off by, as a share of the true one (numbers of 1 or more)."""
        growth = _GROWTH ** (1 << self.level)
        return (growth - 1) / (growth + 1)

    def quantile(self, share: float) -> float | None:
        """The number of rank ceil(share * count), at least the first; None of no numbers."""
        rank, seen = max(1, math.ceil(share * self.count)), 0
        growth = _GROWTH ** (1 << self.level)
        for index, count in self.buckets:
            seen += count
            if seen >= rank:
                return float(2 * growth**index / (growth + 1)) if index else 1.0
        return None

    def coarser(self) -> Sketch:
        """The same numbers at the next level; raises SchemaError at the last."""
        merged = Counter[int]()
        for index, count in self.buckets:
            merged[(index + 1) // 2] += count
        return Sketch(level=self.level + 1, buckets=tuple(sorted(merged.items())))

    def within(self, tokens: int) -> Sketch:
        """The finest sketch of the same numbers that takes no more `tokens_of`, or the coarsest there is."""
        sketch = self
        while sketch.level < MAX_LEVEL and len(tokens_of(sketch)) > tokens:
            sketch = sketch.coarser()
        return sketch


class SketchBuilder:
    """A sketch in the making. ``add`` is on the path of every inference."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}

    def add(self, value: int) -> None:
        """Count a number, 0 or more. A 0 is taken for a 1."""
        index = math.ceil(math.log(value) * _PER_E) if value > 1 else 0
        self._buckets[index] = self._buckets.get(index, 0) + 1

    def build(self) -> Sketch:
        """The sketch of what was added so far."""
        return Sketch(buckets=tuple(sorted(self._buckets.items())))


def sketch_of(values: Iterable[int]) -> Sketch:
    """The sketch of these numbers."""
    builder = SketchBuilder()
    for value in values:
        builder.add(value)
    return builder.build()


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """The sketch of all their numbers together, at the level of the coarsest. Order and grouping change nothing."""
    parts = list(sketches)
    level = max((part.level for part in parts), default=0)
    merged = Counter[int]()
    for part in parts:
        at_level = part
        while at_level.level < level:
            at_level = at_level.coarser()
        for index, count in at_level.buckets:
            merged[index] += count
    return Sketch(level=level, buckets=tuple(sorted(merged.items())))


def tokens_of(sketch: Sketch) -> list[int]:
    """The counts from the first bucket to the last; a run of n empty ones as 0, n. Latencies crowd: a byte a bucket."""
    tokens: list[int] = []
    free = sketch.buckets[0][0] if sketch.buckets else 0
    for index, count in sketch.buckets:
        if index > free:
            tokens += (0, index - free)
        tokens.append(count)
        free = index + 1
    return tokens


def sketch_from(level: int, first: int, tokens: Sequence[int]) -> Sketch:
    """The inverse of `tokens_of` for untrusted values; ``first``: index of the first bucket. Raises SchemaError."""
    buckets: list[tuple[int, int]] = []
    index, rest = first, iter(tokens)
    for token in rest:
        if token:
            buckets.append((index, token))
            index += 1
            continue
        run = next(rest, 0)
        require(run > 0 and bool(buckets), "sketch", "an empty run")
        index += run
        require(index < MAX_INDEX, "sketch", f"no bucket {index}")
    return Sketch(level=level, buckets=tuple(buckets))
