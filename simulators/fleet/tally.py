"""What is counted while a field's windows go by: integers and maxima, so that the order of adding is no matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.fleet.result import Fate
from simulators.lorawan.reception import Bools, Codes
from simulators.lorawan.streams import Floats, Ints

FATES = len(Fate)
HOUR_S = 3600.0
Counts = NDArray[np.int32]


@dataclass(slots=True, kw_only=True)
class Tally:
    """(devices,) each but ``fates`` (devices, fates), by hour (groups, hours), by gateway (gateways,)."""

    fates: Counts
    other: Counts
    withheld: Counts
    busiest_s: Floats
    sent: Ints
    received: Ints
    heard_by: Ints
    only_by: Ints
    collided_at: Ints
    no_path_at: Ints

    @classmethod
    def empty(cls, *, devices: int, groups: int, hours: int, gateways: int) -> Tally:
        """Nothing yet."""
        return cls(
            fates=np.zeros((devices, FATES), np.int32),
            other=np.zeros(devices, np.int32),
            withheld=np.zeros(devices, np.int32),
            busiest_s=np.zeros(devices),
            sent=np.zeros((groups, hours), np.int64),
            received=np.zeros((groups, hours), np.int64),
            heard_by=np.zeros(gateways, np.int64),
            only_by=np.zeros(gateways, np.int64),
            collided_at=np.zeros(gateways, np.int64),
            no_path_at=np.zeros(gateways, np.int64),
        )

    def count(self, device: Ints, group: Ints, start_s: Floats, fate: Codes, other: Bools) -> None:
        """Packets and what became of them: under the scenario's capture, and whether they arrive under the other."""
        np.add.at(self.fates.reshape(-1), device * FATES + fate, 1)
        np.add.at(self.other, device[other], 1)
        groups, hours = self.sent.shape
        cell = group * hours + np.minimum((start_s / HOUR_S).astype(np.int64), hours - 1)
        self.sent += np.bincount(cell, minlength=groups * hours).reshape(groups, hours)
        arrived = cell[fate == Fate.RECEIVED]
        self.received += np.bincount(arrived, minlength=groups * hours).reshape(groups, hours)

    def count_gateways(self, by_gateway: Codes) -> None:
        """(gateways, packets) verdicts, numbers of `Fate`."""
        received = by_gateway == Fate.RECEIVED
        once = received.sum(axis=0) == 1
        self.heard_by += received.sum(axis=1)
        self.only_by += (received & once).sum(axis=1)
        self.collided_at += (by_gateway == Fate.COLLIDED).sum(axis=1)
        self.no_path_at += (by_gateway == Fate.NO_PATH).sum(axis=1)

    def add(self, later: Tally) -> None:
        """Another stretch of the same run."""
        for name in ("fates", "other", "withheld", "sent", "received"):
            getattr(self, name).__iadd__(getattr(later, name))
        for name in ("heard_by", "only_by", "collided_at", "no_path_at"):
            getattr(self, name).__iadd__(getattr(later, name))
        np.maximum(self.busiest_s, later.busiest_s, out=self.busiest_s)


def busiest_s(device: Ints, start_s: Floats, airtime_s: Floats) -> tuple[Ints, Floats]:
    """The most time on air in any hour that ends with, or begins before, a packet of a device: devices, and the hours.

    Packets in order of device and start, each device's of one length ``airtime_s`` (packets,) and apart. Use of a
    sliding hour only changes slope where a packet begins or ends, so the worst one begins with a packet or ends with
    one; both come to the same sum.
    """
    if not device.size:
        return device, np.empty(0)
    apart = float(np.ptp(start_s)) + 2 * HOUR_S
    place = device * apart + (start_s - start_s.min())
    first = np.searchsorted(place, place - HOUR_S, "right")
    # places are rounded, and by where the window begins: what is within the hour is said by the times themselves
    first += start_s - start_s[first] >= HOUR_S
    before = np.maximum(first - 1, 0)
    first -= (device[before] == device) & (first > before) & (start_s - start_s[before] < HOUR_S)
    whole = (np.arange(device.size) - first) * airtime_s
    use = whole + np.minimum(airtime_s, HOUR_S - (start_s - start_s[first]))
    begins = np.flatnonzero(np.diff(device, prepend=-1))
    return device[begins], np.maximum.reduceat(use, begins)
