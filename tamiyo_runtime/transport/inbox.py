"""What has come in for a device and was not looked at yet: a few messages a channel, each of bounded size.

Whoever may write to a device's topics, or has stolen a right to, can fill these and no more. The oldest goes when one
more comes, since everything that is sent to a device is sent again: acks after a time-out, chunks when asked for, and
of orders the last one stays with the broker.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from tamiyo_runtime.transport.topics import Channel


@dataclass(frozen=True, slots=True)
class Room:
    """What one channel may hold."""

    messages: int
    message_bytes: int


ROOM = {
    Channel.ACK: Room(256, 64 << 10),
    Channel.ORDER: Room(8, 32 << 10),
    Channel.CHUNK: Room(64, 16 << 10),
}
"""About 17 MiB in all, however much is sent; in practice an ack has a few dozen bytes."""

LARGEST_PACKET_BYTES = 64 << 10
"""What a broker that speaks MQTT 5 is told not to go beyond: a larger message never reaches this process's memory."""


class Inboxes:
    """Filled by one thread, emptied by another. ``refused`` and ``displaced`` count messages, by channel."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._boxes: dict[Channel, deque[bytes]] = {
            channel: deque(maxlen=ROOM[channel].messages) for channel in channels
        }
        self.refused: Counter[Channel] = Counter()
        self.displaced: Counter[Channel] = Counter()

    def put(self, channel: Channel, payload: bytes) -> None:
        """Keep a message; one that is too large, or for a channel that nobody listens to, is counted and let go."""
        box = self._boxes.get(channel)
        if box is None or len(payload) > ROOM[channel].message_bytes:
            self.refused[channel] += 1
            return
        if len(box) == box.maxlen:
            self.displaced[channel] += 1
        box.append(payload)

    def take(self, channel: Channel) -> list[bytes]:
        """What came in on a channel since the last call, oldest first."""
        box, result = self._boxes.get(channel, deque()), []
        while box:
            result.append(box.popleft())
        return result

    def holds(self, channel: Channel) -> bool:
        """Whether something waits there."""
        return bool(self._boxes.get(channel))
