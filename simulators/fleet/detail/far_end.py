"""Network server and collector of one simulated device: takes in frames, acknowledges what they held, keeps the times.

Frames are decoded with the runtime's own codec. An ack is there when the first receive window opens and is never lost;
it costs no airtime and makes no gateway deaf, which a real downlink would.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Ack
from tamiyo_runtime.meters import Clock
from tamiyo_runtime.transport.topics import Channel


class Timed(Protocol):
    """A link that knows when the last frame had arrived, and how long an answer takes from there."""

    answer_s: float

    def arrived_s(self) -> float:
        """On the device's clock."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record that came in for the first time: its number and time of making (ms), and when it arrived."""

    seq: int
    t_ms: int
    arrived_s: float


class FarEnd:
    """Implements `tamiyo_runtime.transport.Transport`. ``arrivals`` are in order of arrival."""

    label = "network server and collector (simulated)"

    def __init__(self, device: str, link: Timed, clock: Clock) -> None:
        self.arrivals: list[Arrival] = []
        self.duplicates = 0
        self._device, self._link, self._clock = device, link, clock
        self._seen: set[int] = set()
        self._acks: deque[tuple[float, bytes]] = deque()

    def start(self) -> None:
        """Nothing to start."""

    def connected(self) -> bool:
        """Always: what is lost, the link loses."""
        return True

    def trouble(self) -> str | None:
        """None."""
        return None

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Take in a frame that the link has just carried; raises SchemaError for one that is none."""
        batch, arrived_s = wire.decode(payload, device=self._device), self._link.arrived_s()
        for numbered in batch.records:
            if numbered.seq in self._seen:
                self.duplicates += 1
                continue
            self._seen.add(numbered.seq)
            self.arrivals.append(Arrival(numbered.seq, numbered.record.t_ms, arrived_s))
        ack = Ack(batch.boot, wire.spans(numbered.seq for numbered in batch.records))
        self._acks.append((arrived_s + self._link.answer_s, wire.encode_ack(ack, device=self._device)))
        return True

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        """Acks that are there by now."""
        now_s, due = self._clock.now_s(), []
        while self._acks and self._acks[0][0] <= now_s:
            due.append(self._acks.popleft()[1])
        return due

    def next_s(self, now_s: float) -> float:
        """When the next ack will be there; infinite for never."""
        return max(now_s, self._acks[0][0]) if self._acks else math.inf

    def wait(self, timeout_s: float) -> bool:
        """Nothing comes in while a virtual clock stands."""
        return False

    def close(self, farewell: Mapping[str, Any]) -> None:
        """Nobody to say goodbye to."""
