"""The operator's end of the broker: sends orders to every device concerned, and the pieces that devices ask for.

Pieces go out in turns, one to each device that asked, as fast as the broker confirms them and no faster than a rate:
at most one request a device is held, the last, since a device that waits asks again. Nothing is kept between two runs;
whoever serves the bundle next goes on where this one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.connection import Connection
from tamiyo_runtime.transport.topics import Address, Channel, fleet_filter
from tamiyo_runtime.update.messages import Want
from tamiyo_runtime.update.orders import Sent
from tamiyo_runtime.update.rollout import Rollout
from tamiyo_runtime.update.shelf import Shelf

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

HEARS = (Channel.BIRTH, Channel.STATE, Channel.REPORTED, Channel.WANT)
_QUEUE = 4096
_CHUNK_EXPIRY_S = 60  # whoever did not hear it by then has asked again
_BACKOFF_CAP_S = 5.0
_TURN_S = 0.05
_BURST_S = 0.25  # of the rate, that may go out at once

Publish = Callable[[str, bytes, bool], bool]


class Desk:
    """Moves messages between a connection and a `Rollout`; `turn` does what there is to do. One thread calls it."""

    def __init__(self, rollout: Rollout, fleet: str, publish: Publish, *, bytes_per_s: float) -> None:
        self.rollout = rollout
        self.sent_bytes = 0
        self._fleet = fleet
        self._publish = publish
        self._rate = bytes_per_s
        self._credit = 0.0
        self._credit_s: float | None = None
        self._shelf: Shelf | None = None
        self._serving: dict[str, Iterator[bytes]] = {}
        self._held: dict[str, bytes] = {}

    @property
    def offers(self) -> str | None:
        """SHA-256 of the bundle that is served."""
        return self._shelf.sha256 if self._shelf is not None else None

    def offer(self, shelf: Shelf) -> None:
        """Serve this bundle from now on."""
        self._shelf = shelf

    def hear(self, topic: str, payload: bytes) -> None:
        """A message came in."""
        asked = self.rollout.hear(topic, payload)
        if asked is not None:
            self._ask(*asked)

    def send(self, order: Sent) -> bool:
        """Send the order to whoever it concerns and has not got it; whether everybody has it now."""
        everybody = True
        for device in self.rollout.devices.values():
            concerned = device.expected or device.hears is not None
            if not concerned or device.sent == order.digest:
                continue
            if order.command.device not in (None, device.name):
                continue
            if self._publish(self._topic(device.name, Channel.ORDER), order.envelope, True):
                device.sent = order.digest
            else:
                everybody = False
        return everybody

    def serve(self, now_s: float) -> bool:
        """Send pieces, one a device in turn, until the rate or the connection says no; whether there are more."""
        passed_s = 0.0 if self._credit_s is None else now_s - self._credit_s
        self._credit_s = now_s
        self._credit = min(self._credit + passed_s * self._rate, self._rate * _BURST_S)
        while self._serving and self._credit > 0:
            name = next(iter(self._serving))
            frame = self._held.pop(name, None) or next(self._serving[name], None)
            if frame is None:
                del self._serving[name]
                continue
            if not self._publish(self._topic(name, Channel.CHUNK), frame, False):
                self._held[name] = frame
                return True
            self._credit -= len(frame)
            self.sent_bytes += len(frame)
            self._serving[name] = self._serving.pop(name)  # to the end of the line
        return bool(self._serving)

    def _ask(self, name: str, want: Want) -> None:
        if self._shelf is None:
            return
        try:
            self._serving[name] = self._shelf.frames(want)
            self._held.pop(name, None)
        except SchemaError:
            self.rollout.refused += 1

    def _topic(self, name: str, channel: Channel) -> str:
        return Address(self._fleet, name).topic(channel)


class Line:
    """The connection of a desk: what comes in waits in a bounded queue, and what is too much is asked for again."""

    def __init__(self, url: str, fleet: str, client_id: str, access: Access | None) -> None:
        self._queue: Queue[tuple[str, bytes]] = Queue(_QUEUE)
        self.connection = Connection(
            url,
            client_id,
            subscriptions=[fleet_filter(fleet, channel) for channel in HEARS],
            on_message=self._take,
            access=access,
            backoff_cap_s=_BACKOFF_CAP_S,
        )

    def publish(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Hand a message to the connection; False when it takes none now."""
        kind = "application/json" if retain else "application/octet-stream"
        expiry_s = None if retain else _CHUNK_EXPIRY_S
        return self.connection.publish(topic, payload, retain=retain, content_type=kind, expiry_s=expiry_s)

    def receive(self, timeout_s: float) -> Iterator[tuple[str, bytes]]:
        """What came in; waits so long for the first message."""
        try:
            yield self._queue.get(timeout=timeout_s)
            while True:
                yield self._queue.get_nowait()
        except Empty:
            return

    def _take(self, message: MQTTMessage) -> None:
        try:
            self._queue.put_nowait((message.topic, bytes(message.payload)))
        except Full:
            return  # retained documents come again at a reconnection, requests after a while


def turn(desk: Desk, line: Line, order: Sent | None, now_s: float) -> bool:
    """One round: serve, hear, send; whether everybody has the order."""
    busy = desk.serve(now_s)
    for topic, payload in line.receive(0.005 if busy else _TURN_S):
        desk.hear(topic, payload)
    return order is None or desk.send(order)
