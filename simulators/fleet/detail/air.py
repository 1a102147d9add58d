"""Everything on the air at once: the frames of the rest of the fleet, which stand fixed, and those of detailed devices.

`Air` is a set of frames in order of time; `Medium.verdicts` puts detailed devices' frames among the rest and has the
vector engine weigh all of them; `Assumed` answers for one device while that still has to be done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulators.fleet.detail.link import Frame
from simulators.lorawan.network import Network
from simulators.lorawan.open_loop import packets_of
from simulators.lorawan.reception import Codes, Downlinks, Ears, Packets, Verdict, receive
from simulators.lorawan.streams import Ints

MakePackets = Callable[[int, Sequence[Frame]], Packets]
"""Frames of a device by its number in the fleet, as gateways meet them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Air:
    """Packets in order of start, at equal starts of ``device``: so the same whoever put them there. (packets,) each.

    ``longest_s``: the longest packet.
    """

    device: Ints
    packets: Packets
    longest_s: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "longest_s", float((self.packets.end_s - self.packets.start_s).max(initial=0.0)))
        order = np.lexsort((self.device, self.packets.start_s))
        if (order[1:] < order[:-1]).any():
            object.__setattr__(self, "device", self.device[order])
            object.__setattr__(self, "packets", part(self.packets, order))


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """``rest``: what all others send. ``make``: see `MakePackets`. ``downlinks`` is empty or one a gateway."""

    ears: Ears
    rest: Air
    make: MakePackets
    downlinks: tuple[Downlinks, ...] = ()

    def air(self, logs: Mapping[int, Sequence[Frame]]) -> Air:
        """The rest and frames of detailed devices, by number."""
        devices = [self.rest.device, *(np.full(len(frames), number) for number, frames in logs.items())]
        packets = [self.rest.packets, *(self.make(number, frames) for number, frames in logs.items())]
        return Air(device=np.concatenate(devices), packets=joined(packets))

    def verdicts(self, air: Air) -> Codes:
        """(packets,) verdicts of the vector engine, the best of all gateways, in the order of ``air``."""
        best: Codes = receive(air.packets, self.ears, self.downlinks).min(axis=0)
        return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """A judge of one device's frames: what is ``known`` of a frame counts, else what ``air`` suggests.

    The suggestion weighs the frame against what overlaps it and what overlaps that: right but for the paths of busy
    gateways, whose history is longer, and for frames that will come to be sent otherwise.
    """

    number: int
    medium: Medium
    air: Air
    known: Mapping[Frame, bool] = dataclasses.field(default_factory=dict)

    def __call__(self, frame: Frame) -> bool:
        known = self.known.get(frame)
        return self._glance(frame) if known is None else known

    def _glance(self, frame: Frame) -> bool:
        packet, packets = self.medium.make(self.number, [frame]), self.air.packets
        longest_s = max(self.air.longest_s, frame.airtime_s)
        first = int(np.searchsorted(packets.start_s, frame.start_s - 2 * longest_s))
        last = int(np.searchsorted(packets.start_s, frame.end_s))
        near = np.arange(first, last)[self.air.device[first:last] != self.number]
        weighed = joined([part(packets, near), packet])
        verdicts = receive(weighed, self.medium.ears, self.medium.downlinks).min(axis=0)
        return bool(verdicts[-1] == Verdict.RECEIVED)


def frames_of(network: Network, number: int, frames: Sequence[Frame]) -> Packets:
    """`MakePackets` of a fleet whose devices have the same numbers in a network."""
    integers = np.array(
        [(one.index, one.data_rate, one.power_index, one.channel) for one in frames], dtype=np.int64
    ).reshape(-1, 4)
    index, data_rate, power_index, channel = integers.T
    return packets_of(
        network,
        device=np.full(len(frames), number),
        index=index,
        start_s=np.array([one.start_s for one in frames], dtype=np.float64),
        airtime_s=np.array([one.airtime_s for one in frames], dtype=np.float64),
        data_rate=data_rate,
        power_index=power_index,
        channel=channel,
    )


def part(packets: Packets, chosen: Ints) -> Packets:
    """Some of them, in that order."""
    return Packets(
        start_s=packets.start_s[chosen],
        end_s=packets.end_s[chosen],
        vulnerable_s=packets.vulnerable_s[chosen],
        channel=packets.channel[chosen],
        modulation=packets.modulation[chosen],
        rssi_dbm=packets.rssi_dbm[:, chosen],
    )


def joined(many: Sequence[Packets]) -> Packets:
    """All of them, one after the other."""
    return Packets(
        start_s=np.concatenate([one.start_s for one in many]),
        end_s=np.concatenate([one.end_s for one in many]),
        vulnerable_s=np.concatenate([one.vulnerable_s for one in many]),
        channel=np.concatenate([one.channel for one in many]),
        modulation=np.concatenate([one.modulation for one in many]),
        rssi_dbm=np.concatenate([one.rssi_dbm for one in many], axis=1),
    )
