"""Which numbers of a boot are stored, as ranges: what tells a record that is new from one that came before. Pure.

A boot whose records arrive in order is one range, however long, so a ledger costs what there are gaps, not records.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Span = tuple[int, int]
"""An inclusive range."""


class Coverage:
    """Disjoint ranges, ascending, none adjacent to the next. ``spans`` must be so already."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in spans:
            self._firsts.append(first)
            self._lasts.append(last)

    @property
    def spans(self) -> list[Span]:
        """The ranges."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def add(self, first: int, last: int) -> list[Span]:
        """Cover ``first..last``; returns the parts of it that were not covered."""
        lasts = self._lasts
        if not lasts or first > lasts[-1] + 1:
            self._firsts.append(first)
            lasts.append(last)
            return [(first, last)]
        if first == lasts[-1] + 1:  # the usual case
            lasts[-1] = last
            return [(first, last)]
        start, end = self._touching(first, last)
        if start == end:
            self._firsts.insert(start, first)
            lasts.insert(start, last)
            return [(first, last)]
        fresh, free = [], first
        for index in range(start, end):
            if free < self._firsts[index]:
                fresh.append((free, min(last, self._firsts[index] - 1)))
            free = max(free, lasts[index] + 1)
        if free <= last:
            fresh.append((free, last))
        joined = min(first, self._firsts[start]), max(last, lasts[end - 1])
        self._firsts[start:end], lasts[start:end] = [joined[0]], [joined[1]]
        return fresh

    def overlap(self, first: int, last: int) -> int:
        """How many numbers of ``first..last`` are covered."""
        start, end = self._touching(first, last)
        return sum(
            max(0, min(last, self._lasts[index]) - max(first, self._firsts[index]) + 1) for index in range(start, end)
        )

    def _touching(self, first: int, last: int) -> tuple[int, int]:
        """Places of the ranges that overlap ``first..last`` or are next to it."""
        return bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)


def size(spans: Iterable[Span]) -> int:
    """How many numbers these ranges hold."""
    return sum(last - first + 1 for first, last in spans)
