"""A broker of one process: for tests, and to try the runtime without any broker.

``memory://NAME`` names a `Bus`; whoever collects attaches a handler and answers through `Bus.send`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.inbox import ROOM, Inboxes
from tamiyo_runtime.transport.port import HEARD, transports
from tamiyo_runtime.transport.topics import RETAINED, Address, Channel, parse

Handler = Callable[[str, bytes], None]


class Bus:
    """Messages by topic. ``up`` False acts as a broker that is gone."""

    _named: ClassVar[dict[str, Bus]] = {}

    def __init__(self) -> None:
        self.up = True
        self.handlers: list[Handler] = []
        self.retained: dict[str, bytes] = {}
        self.devices: dict[Address, Inboxes] = {}

    @classmethod
    def named(cls, name: str) -> Bus:
        """The bus of that name, made when it is new."""
        return cls._named.setdefault(name, cls())

    def send(self, topic: str, payload: bytes) -> None:
        """Deliver to every handler, or to the device's inbox when that is whom the topic is for."""
        address, channel = parse(topic)
        if channel in RETAINED:
            self.retained[topic] = payload
        if channel in ROOM:
            if address in self.devices:
                self.devices[address].put(channel, payload)
            return
        for handler in self.handlers:
            handler(topic, payload)


@transports.register("memory")
class MemoryTransport:
    """A device's end of a `Bus`."""

    def __init__(
        self,
        url: str,
        address: Address,
        birth: Mapping[str, Any],
        access: Access | None = None,
        hears: Sequence[Channel] = HEARD,
    ) -> None:
        self.label = url
        self.bus = Bus.named(url.partition("://")[2])
        self._address = address
        self._birth = birth
        self.inboxes = Inboxes(hears)

    def start(self) -> None:
        """Announce the device, and hear what was kept for it."""
        self.bus.devices[self._address] = self.inboxes
        for channel in RETAINED & ROOM.keys():
            if (kept := self.bus.retained.get(self._address.topic(channel))) is not None:
                self.inboxes.put(channel, kept)
        self.publish(Channel.BIRTH, announcement.write(self._birth, self._address.device))
        self.publish(Channel.STATE, announcement.write({"state": "online"}, self._address.device))

    def connected(self) -> bool:
        """While the bus is up."""
        return self.bus.up

    def trouble(self) -> str | None:
        """While the bus is down."""
        return None if self.bus.up else f"{self.label} is down"

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Deliver at once."""
        if self.bus.up:
            self.bus.send(self._address.topic(channel), payload)
        return self.bus.up

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        """Empty an inbox."""
        return self.inboxes.take(channel)

    def wait(self, timeout_s: float) -> bool:
        """Nothing comes in while a single thread waits, so don't."""
        return self.inboxes.holds(Channel.ACK)

    def close(self, farewell: Mapping[str, Any]) -> None:
        """Say goodbye."""
        self.publish(Channel.STATE, announcement.write(farewell, self._address.device))
