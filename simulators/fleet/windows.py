"""An open-loop run of a field, window by window: memory holds one window, results do not depend on where it is cut.

Schedules are drawn afresh for any stretch of time, so a window also draws what overlaps its edges: whether a packet is
spoilt depends on packets at most the longest frame away. What does reach further back is handed on: which demodulators
are still held, and what each busy device sent in the hour before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulators.fleet.lora import LoraField, Sendings
from simulators.fleet.result import Fate, Packets
from simulators.fleet.tally import HOUR_S, Tally, busiest_s
from simulators.lorawan.reception import Bools, Codes, collisions, without_path
from simulators.lorawan.streams import Floats, Ints

PACKETS_A_WINDOW = 250_000
_SHORTEST_FRAMES = 8  # a window is at least so many of the longest frame: less is mostly edges
_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What a window hands to the next: ends of the packets that hold paths, a gateway each, and recent packets of
    devices that may send more than once an hour."""

    held_until_s: tuple[Floats, ...]
    device: Ints
    start_s: Floats

    def same_paths(self, other: Carried) -> bool:
        """Whether the same paths are held until the same times."""
        pairs = zip(self.held_until_s, other.held_until_s, strict=True)
        return all(np.array_equal(np.sort(one), np.sort(two)) for one, two in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The run in windows of one length, numbered from 0."""

    field: LoraField
    length_s: float

    @classmethod
    def of(cls, field: LoraField, length_s: float | None = None) -> Windows:
        """Windows of about a quarter of a million packets, or of a length that is given."""
        if length_s is None:
            rate = field.timing.expected() / field.scenario.duration_s
            length_s = min(max(PACKETS_A_WINDOW / rate, _SHORTEST_FRAMES * field.longest_s), _LONGEST_S)
        return cls(field=field, length_s=length_s)

    @property
    def count(self) -> int:
        """How many there are."""
        return max(1, math.ceil(self.field.scenario.duration_s / self.length_s))

    def tally(self) -> Tally:
        """An empty one."""
        field = self.field
        return Tally.empty(
            devices=field.count,
            groups=len(field.scenario.devices),
            hours=max(1, math.ceil(field.scenario.duration_s / HOUR_S)),
            gateways=len(field.scenario.gateways),
        )

    def start(self, first: int) -> Carried:
        """What window ``first`` is handed if its demodulators were all free a while before: exact for window 0."""
        start_s, nobody = first * self.length_s, tuple(np.empty(0) for _ in self.field.scenario.gateways)
        since_s = max(0.0, start_s - 8 * self.field.longest_s)
        carried = Carried(nobody, np.empty(0, np.int64), np.empty(0))
        if start_s > 0:
            carried = receive(self.field, since_s, start_s, carried)
            sent = self.field.between(start_s - HOUR_S, start_s)
            busy = often(self.field)[sent.device]
            carried = Carried(carried.held_until_s, sent.device[busy], sent.start_s[busy])
        return carried

    def run(
        self,
        first: int,
        end: int,
        carried: Carried,
        into: Tally,
        *,
        on_window: Callable[[], None] | None = None,
        on_packets: Callable[[Packets], None] | None = None,
    ) -> Carried:
        """Windows ``first`` to before ``end``, counted into a tally; returns what the next one is handed."""
        for number in range(first, end):
            start_s = number * self.length_s
            until_s = min(start_s + self.length_s, self.field.scenario.duration_s)
            carried = receive(self.field, start_s, until_s, carried, into=into, on_packets=on_packets)
            if on_window is not None:
                on_window()
        return carried


def often(field: LoraField) -> Bools:
    """(devices,) whether a device may begin more than one packet in an hour."""
    timing = field.timing
    hurry = np.ones(field.count)
    for drift in timing.drifts:
        hurry *= 1.0 + np.minimum(drift.rate, 0.0)
    frequent: Bools = timing.poisson | ((timing.period_s - timing.jitter_s) * hurry < HOUR_S)
    return frequent


def receive(
    field: LoraField,
    start_s: float,
    end_s: float,
    carried: Carried,
    *,
    into: Tally | None = None,
    on_packets: Callable[[Packets], None] | None = None,
) -> Carried:
    """Packets that begin from ``start_s`` to before ``end_s``; without a tally only the paths they take count."""
    edge_s = field.longest_s
    sendings = field.between(start_s - edge_s, end_s + edge_s)
    inside = (sendings.start_s >= start_s) & (sendings.start_s < end_s)
    packets = field.packets(sendings)
    by_start = np.argsort(packets.start_s, kind="stable")
    in_turn = by_start[inside[by_start]]
    heard = packets.rssi_dbm >= field.ears.sensitivity_dbm[packets.modulation]
    held, refused = [], np.zeros(heard.shape, np.bool_)
    for gateway, until_s in enumerate(carried.held_until_s):
        wants = in_turn[heard[gateway, in_turn]]
        none = without_path(packets.start_s[wants], packets.end_s[wants], field.ears.paths, until_s)
        refused[gateway, wants] = none
        ends = np.concatenate([until_s, packets.end_s[wants[~none]]])
        held.append(ends[ends > end_s])
    if into is None:
        return Carried(tuple(held), carried.device, carried.start_s)
    spoilt = collisions(packets, field.ears, by_start)
    spoilt_other = spoilt if field.other_ears is None else collisions(packets, field.other_ears, by_start)
    by_gateway = _fates(heard, refused, spoilt)[:, inside]
    fate = by_gateway.min(axis=0)
    some = _part(sendings, inside)
    if field.faults.outages:
        fate[(fate == Fate.TOO_WEAK) & field.audible(some)] = Fate.GATEWAY_DOWN
    other: Bools = np.logical_or.reduce(heard & ~refused & ~spoilt_other, axis=0)[inside]
    into.count(some.device, field.group[some.device], some.start_s, fate, other)
    into.count_gateways(by_gateway)
    if field.faults.silences:
        np.add.at(into.withheld, field.due(start_s, end_s)[1], 1)
    if on_packets is not None:
        on_packets(_table(field, some, packets.rssi_dbm[:, inside], fate))
    recent = _count_hours(field, some, carried, into, end_s)
    return Carried(tuple(held), *recent)


def _fates(heard: Bools, refused: Bools, spoilt: Bools) -> Codes:
    fates = np.where(spoilt, np.uint8(Fate.COLLIDED), np.uint8(Fate.RECEIVED))
    fates[refused] = Fate.NO_PATH
    fates[~heard] = Fate.TOO_WEAK
    return fates


def _count_hours(field: LoraField, some: Sendings, carried: Carried, into: Tally, end_s: float) -> tuple[Ints, Floats]:
    frequent = often(field)
    np.maximum.at(into.busiest_s, some.device, field.airtime_s[some.device])
    busy = frequent[some.device]
    device = np.concatenate([carried.device, some.device[busy]])
    when = np.concatenate([carried.start_s, some.start_s[busy]])
    order = np.argsort(device, kind="stable")
    device, when = device[order], when[order]
    who, use = busiest_s(device, when, field.airtime_s[device])
    into.busiest_s[who] = np.maximum(into.busiest_s[who], use)
    recent = when > end_s - HOUR_S - field.longest_s
    return device[recent], when[recent]


def _part(sendings: Sendings, kept: Bools) -> Sendings:
    return Sendings(
        device=sendings.device[kept],
        message=sendings.message[kept],
        start_s=sendings.start_s[kept],
        channel=sendings.channel[kept],
    )


def _table(field: LoraField, some: Sendings, rssi_dbm: Floats, fate: Codes) -> Packets:
    order = np.argsort(some.start_s, kind="stable")
    device = some.device[order]
    return Packets(
        device=field.numbers[device],
        message=some.message[order],
        start_s=some.start_s[order],
        airtime_s=field.airtime_s[device],
        channel=some.channel[order],
        data_rate=field.data_rate[device],
        rssi_dbm=rssi_dbm.max(axis=0)[order],
        fate=fate[order],
    )
