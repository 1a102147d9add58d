"""A record as a medium: what is offered at a time meets what was met at that time.

As long as it is offered what was offered then, bit for bit, it decides what was decided then. Anything else goes by the
last decision before its time: it takes as long, in as many tries, starts no earlier, and not before the link is as free
as that said it was after the piece before. An outage of the record holds everything. After its end the record begins
again.

A record knows how long its own pieces took, and not what larger ones would have: record with traffic like that which is
to meet it, or take the full pieces of `tamiyo link trace`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

from simulators.relay.medium import Decision, Direction, Outage, checked
from simulators.relay.record import Record


class Replay:
    """See the module's description; implements `simulators.relay.medium.Medium`."""

    def __init__(self, record: Record) -> None:
        self.label = f"record of {record.header.label}"
        self._decisions, self._outages = record.decisions, record.outages
        self._times_s = [one.at_s for one in record.decisions]
        self._begins_s = [one.begins_s for one in record.outages]
        ends_s = [one.ends_s for one in record.outages] + [max(one.arrives_s, one.free_s) for one in record.decisions]
        self.length_s = math.nextafter(max(ends_s), math.inf)
        self._last_s = -math.inf
        self._exact = 0  # so many offers were as recorded; all of them, once one was not
        self._free_s = 0.0
        self._arrived_s = dict.fromkeys(Direction, 0.0)

    def decide(self, at_s: float, direction: Direction, waiting_bytes: int) -> Decision:
        """See `Medium`."""
        self._last_s = checked(at_s, self._last_s, waiting_bytes)
        decision = self._as_told(at_s, direction, waiting_bytes) or self._like(at_s, direction, waiting_bytes)
        self._free_s, self._arrived_s[direction] = decision.free_s, decision.arrives_s
        return decision

    def outages(self, since_s: float, until_s: float) -> Iterator[Outage]:
        """Of the record, as often as it is replayed."""
        for turn in range(math.floor(since_s / self.length_s), math.floor(until_s / self.length_s) + 1):
            base_s = turn * self.length_s
            for one in self._outages:
                if since_s <= base_s + one.begins_s < until_s:
                    yield Outage(begins_s=base_s + one.begins_s, ends_s=base_s + one.ends_s)

    def _as_told(self, at_s: float, direction: Direction, waiting_bytes: int) -> Decision | None:
        """The decision itself, as long as every offer was the recorded one."""
        told = None if self._exact == len(self._decisions) else self._decisions[self._exact]
        if told is None or (told.at_s, told.direction, told.waiting_bytes) != (at_s, direction, waiting_bytes):
            self._exact = len(self._decisions)
            return None
        self._exact += 1
        return told

    def _like(self, at_s: float, direction: Direction, waiting_bytes: int) -> Decision:
        base_s = math.floor(at_s / self.length_s) * self.length_s
        told = self._decisions[max(0, bisect_right(self._times_s, at_s - base_s) - 1)]
        start_s = self._covered_at_s(max(at_s, base_s + told.start_s, self._free_s))
        return replace(
            told,
            at_s=at_s,
            direction=direction,
            waiting_bytes=waiting_bytes,
            size_bytes=min(waiting_bytes, told.payload_bytes),
            start_s=start_s,
            arrives_s=max(start_s + (told.arrives_s - told.start_s), self._arrived_s[direction]),
            free_s=start_s + (told.free_s - told.start_s),
        )

    def _covered_at_s(self, at_s: float) -> float:
        base_s = math.floor(at_s / self.length_s) * self.length_s
        place = bisect_right(self._begins_s, at_s - base_s) - 1
        return at_s if place < 0 else max(at_s, base_s + self._outages[place].ends_s)
