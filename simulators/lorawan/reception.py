"""Verdicts of whole schedules at once: what each gateway makes of each packet, in vector passes.

Packets are put in order of channel and start; pass k compares each with its k-th follower, as long as they overlap.
What is left to do in order, the gateway's demodulator paths, is done one by one only within busy stretches. `receiver`
does the same packet by packet; both weigh the same floats by the same comparisons, so they agree bit for bit.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simulators.lorawan.interference import BEARABLE, TOO_MUCH, Rule, shares
from simulators.lorawan.streams import Floats, Ints

DEAF_DBM = -10_000.0
"""What reaches a gateway that is down: it neither hears it nor is disturbed by it."""
Codes = NDArray[np.uint8]
Bools = NDArray[np.bool_]


class Verdict(IntEnum):
    """What became of a packet, nearest to success first: of several gateways the lowest counts."""

    RECEIVED = 0
    COLLIDED = 1
    NO_PATH = 2
    GATEWAY_SENDING = 3
    TOO_WEAK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """Uplinks, (packets,) each but ``rssi_dbm`` (gateways, packets). At equal starts the earlier in line is first.

    ``vulnerable_s`` is when interference begins to matter, ``modulation`` an index of `capture.MODULATIONS`.
    """

    start_s: Floats
    end_s: Floats
    vulnerable_s: Floats
    channel: NDArray[np.int16]
    modulation: NDArray[np.int16]
    rssi_dbm: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Downlinks:
    """When one gateway sends: in order and apart."""

    start_s: Floats
    end_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """What the gateways have in common: thresholds by modulation, paths, and SIR thresholds."""

    sensitivity_dbm: Floats
    sir_db: Floats
    rule: Rule
    paths: int


def receive(packets: Packets, ears: Ears, downlinks: Sequence[Downlinks] = ()) -> Codes:
    """(gateways, packets) verdicts in the order given. ``downlinks`` is empty or one a gateway."""
    gateways, count = packets.rssi_dbm.shape
    verdicts = np.empty((gateways, count), np.uint8)
    by_start = np.argsort(packets.start_s, kind="stable")
    collided = collisions(packets, ears, by_start)
    needed_dbm = ears.sensitivity_dbm[packets.modulation]
    start_s, end_s = packets.start_s[by_start], packets.end_s[by_start]
    for gateway in range(gateways):
        heard = (packets.rssi_dbm[gateway] >= needed_dbm)[by_start]
        sending_at_start, sending = _sending(start_s, end_s, downlinks[gateway] if downlinks else None)
        wants = heard & ~sending_at_start
        blocked = np.zeros(count, np.bool_)
        blocked[wants] = without_path(start_s[wants], end_s[wants], ears.paths)
        verdict = np.where(collided[gateway][by_start], np.uint8(Verdict.COLLIDED), np.uint8(Verdict.RECEIVED))
        verdict[blocked] = Verdict.NO_PATH
        verdict[sending] = Verdict.GATEWAY_SENDING
        verdict[~heard] = Verdict.TOO_WEAK
        verdicts[gateway, by_start] = verdict
    return verdicts


def collisions(packets: Packets, ears: Ears, by_start: Ints) -> Bools:
    """(gateways, packets) in the order given: spoilt by an interferer. ``by_start`` puts them in order of start."""
    order = by_start[np.argsort(packets.channel[by_start], kind="stable")]
    start_s, end_s, vulnerable_s = packets.start_s[order], packets.end_s[order], packets.vulnerable_s[order]
    channel, modulation = packets.channel[order], packets.modulation[order]
    rssi_dbm = packets.rssi_dbm[:, order]
    harm = np.zeros(rssi_dbm.shape, np.int64)
    first = np.arange(max(order.size - 1, 0))
    for step in range(1, order.size):
        first = first[: np.searchsorted(first, order.size - step)]
        second = first + step
        overlap = (start_s[second] < end_s[first]) & (channel[second] == channel[first])
        first, second = first[overlap], second[overlap]
        if not first.size:
            break
        if ears.rule is Rule.ENERGY:
            both_s = np.minimum(end_s[first], end_s[second]) - start_s[second]
            for wanted, other in ((first, second), (second, first)):
                share = both_s / (end_s[wanted] - start_s[wanted])
                needed_db = ears.sir_db[modulation[wanted], modulation[other]]
                for gateway, dbm in enumerate(rssi_dbm):  # no packet is twice in ``wanted``
                    harm[gateway, wanted] += shares(needed_db - (dbm[wanted] - dbm[other]), share)
            continue
        counts = end_s[first] > vulnerable_s[second]
        spared = counts if ears.rule is Rule.LORASIM else True
        for wanted, other, harms in (
            (first, second, (end_s[second] > vulnerable_s[first]) & spared),
            (second, first, counts),
        ):
            harmed, by = wanted[harms], other[harms]
            needed_db = ears.sir_db[modulation[harmed], modulation[by]]
            for gateway, dbm in enumerate(rssi_dbm):
                harm[gateway, harmed[dbm[harmed] - dbm[by] < needed_db]] = TOO_MUCH
    result = np.empty(harm.shape, np.bool_)
    result[:, order] = harm > BEARABLE
    return result


def _sending(start_s: Floats, end_s: Floats, downlinks: Downlinks | None) -> tuple[Bools, Bools]:
    """Whether the gateway sends as a packet begins, and at any time of it."""
    if downlinks is None or not downlinks.start_s.size:
        none = np.zeros(start_s.size, np.bool_)
        return none, none
    ends = np.concatenate([[-np.inf], downlinks.end_s])
    at_start = ends[np.searchsorted(downlinks.start_s, start_s, "right")] > start_s
    throughout = ends[np.searchsorted(downlinks.start_s, end_s, "left")] > start_s
    return at_start, throughout


def without_path(start_s: Floats, end_s: Floats, paths: int, held_until_s: Floats | None = None) -> Bools:
    """Packets in order of start that find no free path. One that finds one holds it to its end, spoilt or not.

    ``held_until_s``: ends of packets from before that hold paths, at most as many as there are.
    """
    if held_until_s is not None and held_until_s.size:
        before_s = np.full(held_until_s.size, -np.inf)
        everyone = np.concatenate([before_s, start_s]), np.concatenate([held_until_s, end_s])
        return without_path(*everyone, paths)[held_until_s.size :]
    count = start_s.size
    blocked = np.zeros(count, np.bool_)
    busy = np.arange(count) - np.searchsorted(np.sort(end_s), start_s, "right")  # if none had ever been blocked
    crowded = busy >= paths
    if not crowded.any():
        return blocked
    stretch = np.cumsum(busy == 0)
    unsure = np.flatnonzero(np.isin(stretch, np.unique(stretch[crowded])))
    held: list[float] = []
    for index, start, end in zip(unsure.tolist(), start_s[unsure].tolist(), end_s[unsure].tolist(), strict=True):
        while held and held[0] <= start:
            heapq.heappop(held)
        if len(held) < paths:
            heapq.heappush(held, end)
        else:
            blocked[index] = True
    return blocked
