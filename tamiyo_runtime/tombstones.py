"""Fewer tombstones for the same losses, so that news of what was dropped never crowds out what was not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tamiyo_runtime.contracts.records import LossReason, Priority, Tombstone
from tamiyo_runtime.spooled import Key


def class_of(dropped: Iterable[Priority]) -> Priority:
    """What a tombstone of such records travels with: of single samples alone with those, and else as an alarm.

    News that only completes what waits for a fast link has no business on a slow one.
    """
    return Priority.RAW if all(priority is Priority.RAW for priority in dropped) else Priority.ALARM


@dataclass(frozen=True, slots=True)
class Loss:
    """Records ``first_seq..last_seq`` of ``boot`` are gone. ``priority``: the class of their tombstone."""

    boot: int
    reason: LossReason
    first_seq: int
    last_seq: int
    priority: Priority = Priority.ALARM

    def tombstone(self, t_ms: int) -> Tombstone:
        """The record that says so."""
        return Tombstone(
            t_ms=t_ms, boot=self.boot, first_seq=self.first_seq, last_seq=self.last_seq, reason=self.reason
        )


def merged(stones: Iterable[tuple[Key, Tombstone]], *, dropped: Iterable[Key] = ()) -> list[Loss]:
    """The losses that these tombstones name, and the tombstones themselves as lost to a full spool, in long ranges.

    ``dropped``: records lost to a full spool as well. Whoever buries the result may forget all of them: every number
    that one of them named or bore is in exactly one range, and no other number is. A range travels with the most urgent
    of what it was made from.
    """
    ranges: defaultdict[tuple[int, LossReason], list[tuple[int, int, Priority]]] = defaultdict(list)
    for key, stone in stones:
        ranges[stone.boot, stone.reason].append((stone.first_seq, stone.last_seq, key.priority))
        ranges[key.boot, LossReason.SPOOL_FULL].append((key.seq, key.seq, key.priority))
    for key in dropped:
        ranges[key.boot, LossReason.SPOOL_FULL].append((key.seq, key.seq, class_of([key.priority])))
    losses = []
    for (boot, reason), pieces in ranges.items():
        pieces.sort()
        first, last, priority = pieces[0]
        for begin, end, other in pieces[1:]:
            if begin > last + 1:
                losses.append(Loss(boot, reason, first, last, priority))
                first, priority = begin, other
            last, priority = max(last, end), min(priority, other)
        losses.append(Loss(boot, reason, first, last, priority))
    return losses
