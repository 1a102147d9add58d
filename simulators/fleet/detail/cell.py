"""A cellular uplink of one device of a fleet: the runtime's own simulated link, with a number and a log.

Nobody else's traffic matters to it: verdicts are the device's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulators.cellular.presets import preset
from simulators.fleet.detail.link import Frame
from simulators.links.cellular import NETWORKS, CellularLink
from tamiyo_runtime.link import Lasting, Transmission, links

_NAMES = {network: name for name, network in NETWORKS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Where a device is in a network. ``preset``: a name of `simulators.cellular.presets`. ``distance_m`` and
    ``speed_m_s``: the preset's when None. ``number`` and ``end_s`` as of `simulators.fleet.detail.link.Radio`."""

    seed: int
    number: int
    preset: str
    distance_m: float | None = None
    speed_m_s: float | None = None
    end_s: float = math.inf

    def link(self) -> CellularLink:
        """The runtime's link there; raises ValueError for a place without coverage."""
        return CellularLink(
            seed=self.seed,
            device=self.number,
            distance_m=self.distance_m,
            speed_m_s=self.speed_m_s,
            network=preset(self.preset),
        )

    def out_of_reach(self) -> str | None:
        """Why there is no coverage, None where there is."""
        try:
            self.link()
        except ValueError as exc:
            return str(exc)
        return None


class CellLink(Lasting):
    """Implements `tamiyo_runtime.link.Link`. ``frames`` and ``received`` have an entry a payload; the only channel and
    data rate are 0. A frame's airtime is what the radio sent for it; none is charged to a budget."""

    answer_s = 0.0

    def __init__(self, cell: Cell) -> None:
        """Raises ValueError for a place without coverage."""
        self._link = cell.link()
        self.label, self.carries_raw = self._link.label, links.get(_NAMES[cell.preset]).carries_raw
        self.frames: list[Frame] = []
        self.received: list[bool] = []
        self._end_s, self._arrived_s = cell.end_s, 0.0

    def max_payload_bytes(self) -> int:
        """Of the preset."""
        return self._link.max_payload_bytes()

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """When the payload before has left and there is coverage; never, once the simulation is over."""
        ready_s = self._link.ready_at_s(size_bytes, now_s)
        return ready_s if ready_s < self._end_s else math.inf

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Send a payload."""
        before_s = self._link.air_s
        sent = self._link.transmit(size_bytes, now_s)
        self._arrived_s = now_s + sent.latency_s
        self.received.append(sent.delivered)
        self.frames.append(
            Frame(
                index=len(self.frames),
                start_s=now_s,
                airtime_s=self._link.air_s - before_s,
                channel=0,
                data_rate=0,
                power_index=0,
                size_bytes=size_bytes,
            )
        )
        return sent

    def sustainable_bytes_per_s(self) -> float:
        """Of the link."""
        return self._link.sustainable_bytes_per_s()

    def level(self, now_s: float) -> float:
        """There is no credit to use up."""
        return 1.0

    def arrived_s(self) -> float:
        """When the last payload was at the server."""
        return self._arrived_s
