"""What arrives over a radio that loses a share of its frames: the real spool, encoder and uplink on a virtual clock.

A device makes a record every so often; frames, and the acks that answer them, are lost at random, each by itself. What
was not acked is sent again, as the link's duty cycle allows, until the collector has it. All of it is simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from simulators.fleet.detail.far_end import FarEnd
from simulators.links.lora import LoRaLink
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.records import Event, EventRecord
from tamiyo_runtime.link import Transmission
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.uplink import Uplink

_LOOK_S = 1.0
_DEVICE = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Records made and stored (each once), frames sent, and records that came in again (simulated)."""

    made: int
    stored: int
    frames: int
    repeated: int

    @property
    def share(self) -> float:
        """Stored over made."""
        return self.stored / self.made


def deliver(
    *, loss: float, seed: int, hours: float = 24.0, period_s: float = 600.0, patience_hours: float = 3.0
) -> Delivered:
    """A day of a device at SF7 in EU868 that makes a record every ``period_s``, and the hours it may take to send what
    is left. ``loss``: share of frames, and of acks, that never arrive, 0..1. Raises SchemaError out of that range."""
    require(0 <= loss <= 1, "loss", f"{loss} is not a share, 0 to 1")
    require(0 < period_s <= hours * 3600, "period_s", f"{period_s} s is not above 0 and within {hours} hours")
    clock, random = VirtualClock(), Random(seed)  # noqa: S311 - simulation, not cryptography
    link = _Timed(loss, seed)
    end = _Forgetful(link, clock, loss, random)
    times_s = [index * period_s for index in range(math.ceil(hours * 3600 / period_s))]
    made = 0
    with Spool(None, clock=clock, randbits=random.getrandbits) as spool:
        uplink = Uplink(spool, link, end, bundle="00000000", device=_DEVICE)
        while clock.now_s() < (hours + patience_hours) * 3600 and (made < len(times_s) or not uplink.idle()):
            while made < len(times_s) and times_s[made] <= clock.now_s():
                spool.append(EventRecord(t_ms=int(times_s[made] * 1e3), event=Event.MODE))
                made += 1
            uplink.pump(clock.now_s(), everything=True)
            clock.sleep_until(clock.now_s() + _LOOK_S)
        frames = uplink.traffic.transmissions
    return Delivered(made=made, stored=len(end.arrivals), frames=frames, repeated=end.duplicates)


class _Timed(LoRaLink):
    """A link that knows when its last frame had arrived."""

    answer_s = 1.0  # the first receive window

    def __init__(self, loss: float, seed: int) -> None:
        super().__init__(loss_probability=loss, seed=seed)
        self._arrived_s = 0.0

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        sent = super().transmit(size_bytes, now_s)
        self._arrived_s = now_s + sent.latency_s
        return sent

    def arrived_s(self) -> float:
        """On the device's clock."""
        return self._arrived_s


class _Forgetful(FarEnd):
    """A far end whose acks are lost as frames are."""

    def __init__(self, link: _Timed, clock: VirtualClock, loss: float, random: Random) -> None:
        super().__init__(_DEVICE, link, clock)
        self._loss, self._random = loss, random

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        """Acks that are there by now, and were not lost."""
        return [ack for ack in super().receive(channel) if self._random.random() >= self._loss]
