"""Gateways that hear packets as they come and go: `reception`, one packet at a time.

Both weigh the same floats by the same comparisons; a test holds them equal bit for bit.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

import numpy as np

from simulators.lorawan.interference import BEARABLE, TOO_MUCH, Rule, share
from simulators.lorawan.reception import Downlinks, Ears, Verdict


@dataclass(slots=True)
class OnAir:
    """A packet under way; lists have an entry a gateway."""

    start_s: float
    end_s: float
    vulnerable_s: float
    channel: int
    modulation: int
    rssi_dbm: list[float]
    harm: list[int] = field(default_factory=list)
    refused: list[Verdict | None] = field(default_factory=list)


class Receiver:
    """All gateways. Packets begin and end in order of time, at equal times ends before beginnings; a gateway's sending
    has to be told before a packet that it overlaps ends, and before one begins during it."""

    def __init__(self, ears: Ears, *, channels: int, gateways: int) -> None:
        self._needed_dbm: list[float] = ears.sensitivity_dbm.tolist()
        self._sir_db: list[list[float]] = ears.sir_db.tolist()
        self._rule = ears.rule
        self._paths = ears.paths
        self._gateways = range(gateways)
        self._active: list[list[OnAir]] = [[] for _ in range(channels)]
        self._held: list[list[float]] = [[] for _ in self._gateways]
        self.sending: list[list[tuple[float, float]]] = [[] for _ in self._gateways]

    def begin(self, packet: OnAir) -> None:
        """A packet begins."""
        packet.harm = [0] * len(self._gateways)
        packet.refused = [self._refusal(gateway, packet) for gateway in self._gateways]
        active = self._active[packet.channel]
        for earlier in active:
            if self._rule is Rule.ENERGY:
                both_s = min(earlier.end_s, packet.end_s) - packet.start_s
                self._add(earlier, packet, both_s)
                self._add(packet, earlier, both_s)
                continue
            counts = earlier.end_s > packet.vulnerable_s
            if packet.end_s > earlier.vulnerable_s and (counts or self._rule is not Rule.LORASIM):
                self._weigh(earlier, packet)
            if counts:
                self._weigh(packet, earlier)
        active.append(packet)

    def end(self, packet: OnAir) -> list[Verdict]:
        """A packet ends: the verdict of each gateway."""
        self._active[packet.channel].remove(packet)
        return [self._verdict(gateway, packet) for gateway in self._gateways]

    def is_free(self, gateway: int, start_s: float, end_s: float) -> bool:
        """Whether the gateway has nothing else to send in that time."""
        return not _overlaps(self.sending[gateway], start_s, end_s)

    def will_send(self, gateway: int, start_s: float, end_s: float) -> None:
        """The gateway will send, deaf meanwhile."""
        insort(self.sending[gateway], (start_s, end_s))

    def downlinks(self) -> tuple[Downlinks, ...]:
        """All that each gateway has sent or will."""
        return tuple(
            Downlinks(start_s=np.array([start for start, _ in sending]), end_s=np.array([end for _, end in sending]))
            for sending in self.sending
        )

    def _weigh(self, wanted: OnAir, other: OnAir) -> None:
        needed_db = self._sir_db[wanted.modulation][other.modulation]
        for gateway in self._gateways:
            if wanted.rssi_dbm[gateway] - other.rssi_dbm[gateway] < needed_db:
                wanted.harm[gateway] = TOO_MUCH

    def _add(self, wanted: OnAir, other: OnAir, both_s: float) -> None:
        needed_db = self._sir_db[wanted.modulation][other.modulation]
        overlap = both_s / (wanted.end_s - wanted.start_s)
        for gateway in self._gateways:
            excess_db = needed_db - (wanted.rssi_dbm[gateway] - other.rssi_dbm[gateway])
            wanted.harm[gateway] += share(excess_db, overlap)

    def _refusal(self, gateway: int, packet: OnAir) -> Verdict | None:
        """Why the gateway does not even begin to receive; a packet that it takes up holds a path to its end."""
        if not packet.rssi_dbm[gateway] >= self._needed_dbm[packet.modulation]:
            return Verdict.TOO_WEAK
        sending = self.sending[gateway]
        if sending:
            at = bisect_right(sending, packet.start_s, key=_start)
            if at and sending[at - 1][1] > packet.start_s:
                return Verdict.GATEWAY_SENDING
        held = self._held[gateway]
        while held and held[0] <= packet.start_s:
            heapq.heappop(held)
        if len(held) >= self._paths:
            return Verdict.NO_PATH
        heapq.heappush(held, packet.end_s)
        return None

    def _verdict(self, gateway: int, packet: OnAir) -> Verdict:
        refused = packet.refused[gateway]
        if refused is Verdict.TOO_WEAK:
            return Verdict.TOO_WEAK
        if self.sending[gateway] and _overlaps(self.sending[gateway], packet.start_s, packet.end_s):
            return Verdict.GATEWAY_SENDING
        if refused is not None:
            return refused
        return Verdict.COLLIDED if packet.harm[gateway] > BEARABLE else Verdict.RECEIVED


def _start(interval: tuple[float, float]) -> float:
    return interval[0]


def _overlaps(intervals: list[tuple[float, float]], start_s: float, end_s: float) -> bool:
    """Whether one of the intervals, in order and apart, overlaps this one."""
    at = bisect_left(intervals, end_s, key=_start)
    return at > 0 and intervals[at - 1][1] > start_s
