"""A bridge between two brokers that does everything a bridge should not.

It doubles, reorders, forgets, cuts short, damages and misnames messages, and says things that nobody said.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

from tamiyo_runtime.transport.connection import Connection
from tamiyo_runtime.transport.topics import Address, Channel, fleet_filter

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

UP = (Channel.TELEMETRY, Channel.EVENTS, Channel.BIRTH, Channel.STATE)
HELD = 12
DEEDS = ("pass", "twice", "forget", "cut", "damage", "misname", "invent")
WEIGHTS = (50, 15, 8, 7, 8, 7, 5)


class BadBridge:
    """From the ``device_url``'s broker to the ``collector_url``'s, and acks back. ``honest`` may be set at any time."""

    def __init__(self, device_url: str, collector_url: str, fleet: str, *, seed: int) -> None:
        self.honest = False
        self.deeds: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._fleet = fleet
        self._lock = threading.Lock()
        self._held: list[tuple[Connection, str, bytes]] = []
        self._near = Connection(
            device_url,
            "bridge-near",
            subscriptions=[fleet_filter(fleet, channel) for channel in UP],
            on_message=lambda message: self._carry(message, self._far),
        )
        self._far = Connection(
            collector_url,
            "bridge-far",
            subscriptions=[fleet_filter(fleet, Channel.ACK)],
            on_message=lambda message: self._carry(message, self._near),
        )

    def __enter__(self) -> BadBridge:
        for connection in (self._near, self._far):
            connection.start()
            assert connection.wait_connected(15.0), connection.last_error
        return self

    def __exit__(self, *exc: object) -> None:
        self._near.stop()
        self._far.stop()

    def mend(self) -> None:
        """Be a good bridge from now on; what was held goes out."""
        with self._lock:
            self.honest = True
            held, self._held = self._held, []
        for connection, topic, payload in held:
            connection.publish(topic, payload)

    def _carry(self, message: MQTTMessage, to: Connection) -> None:
        with self._lock:
            if self.honest:
                ready = [(to, message.topic, bytes(message.payload))]
            else:
                self._held += [(to, *said) for said in self._spoil(message.topic, bytes(message.payload))]
                self._rng.shuffle(self._held)
                ready, self._held = self._held[HELD:], self._held[:HELD]
        for connection, topic, payload in ready:
            connection.publish(topic, payload)

    def _spoil(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        rng = self._rng
        (deed,) = rng.choices(DEEDS, WEIGHTS)
        self.deeds[deed] += 1
        if deed == "twice":
            return [(topic, payload)] * rng.randint(2, 3)
        if deed == "forget":
            return []
        if deed == "cut":
            return [(topic, payload[: rng.randrange(len(payload))])]
        if deed == "damage":
            data = bytearray(payload)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return [(topic, bytes(data))]
        if deed == "misname":
            channel = Channel(topic.rsplit("/", 1)[1])
            return [(Address(self._fleet, f"board-{rng.randint(2, 9)}").topic(channel), payload)]
        if deed == "invent":
            return [(topic, payload), (topic, rng.randbytes(rng.randint(0, 300)))]
        return [(topic, payload)]
