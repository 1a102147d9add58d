"""Fewer tombstones for the same losses, so that news of what was dropped never crowds out what was not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tamiyo_runtime.contracts.records import LossReason, Tombstone


@dataclass(frozen=True, slots=True)
class Loss:
    """Records ``first_seq..last_seq`` of ``boot`` are gone."""

    boot: int
    reason: LossReason
    first_seq: int
    last_seq: int

    def tombstone(self, t_ms: int) -> Tombstone:
        """The record that says so."""
        return Tombstone(
            t_ms=t_ms, boot=self.boot, first_seq=self.first_seq, last_seq=self.last_seq, reason=self.reason
        )


def merged(stones: Iterable[tuple[int, int, Tombstone]], *, dropped: Iterable[tuple[int, int]] = ()) -> list[Loss]:
    """The losses that these tombstones name, and the tombstones themselves as lost to a full spool, in long ranges.

    ``stones``: boot, number and record of each. ``dropped``: places of records lost to a full spool as well. Whoever
    buries the result may forget all of them: every number that one of them named or bore is in exactly one range, and
    no other number is.
    """
    ranges: defaultdict[tuple[int, LossReason], list[tuple[int, int]]] = defaultdict(list)
    for boot, seq, stone in stones:
        ranges[stone.boot, stone.reason].append((stone.first_seq, stone.last_seq))
        ranges[boot, LossReason.SPOOL_FULL].append((seq, seq))
    for boot, seq in dropped:
        ranges[boot, LossReason.SPOOL_FULL].append((seq, seq))
    losses = []
    for (boot, reason), pieces in ranges.items():
        pieces.sort()
        first, last = pieces[0]
        for begin, end in pieces[1:]:
            if begin > last + 1:
                losses.append(Loss(boot, reason, first, last))
                first = begin
            last = max(last, end)
        losses.append(Loss(boot, reason, first, last))
    return losses
