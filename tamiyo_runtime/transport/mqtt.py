"""A device's end of an MQTT broker: retained birth, last will on the state topic, QoS 1 frames, acks back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.connection import SESSION_EXPIRY_S, Connection, Will
from tamiyo_runtime.transport.inbox import LARGEST_PACKET_BYTES, Inboxes
from tamiyo_runtime.transport.port import HEARD, transports
from tamiyo_runtime.transport.topics import DOCUMENTS, RETAINED, Address, Channel

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

KEEPALIVE_S = 240
"""Of a device, unless its `Access` says otherwise. Asking takes some 220 bytes with TLS and TCP: at 30 s that is
600 KiB a day of a device that has nothing to say, at 240 s 77. Its last will is then published six minutes after it was
cut off; networks that forget a connection do so after five minutes or more, as a rule. A device with something to say
finds out within a minute, see `connection.DEAF_S`.
"""
_GOODBYE_S = 0.5
_JSON = "application/json"
_FRAME = "application/vnd.tamiyo.batch"


@transports.register("mqtt")
@transports.register("mqtts")
class MqttTransport:
    """See `Transport`. The birth goes out again after every reconnection, since a broker may forget it."""

    def __init__(
        self,
        url: str,
        address: Address,
        birth: Mapping[str, Any],
        access: Access | None = None,
        hears: Sequence[Channel] = HEARD,
    ) -> None:
        self.label = url
        self._address = address
        self._birth = announcement.write(birth, address.device)
        self.inboxes = Inboxes(hears)
        self._channels = {address.topic(channel): channel for channel in hears}
        self._connection = Connection(
            url,
            f"tamiyo-{address.fleet}-{address.device}",
            subscriptions=list(self._channels),
            on_message=self._take,
            on_up=self._announce,
            will=Will(address.topic(Channel.STATE), announcement.write({"state": "offline"}, address.device), _JSON),
            access=access,
            largest_packet_bytes=LARGEST_PACKET_BYTES,
            keepalive_s=KEEPALIVE_S if access is None or access.keepalive_s is None else access.keepalive_s,
        )

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._connection.start()

    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._connection.connected()

    def trouble(self) -> str | None:
        """What the connection has to say."""
        return self._connection.trouble()

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Hand a message to the connection; False while there is none."""
        if channel in DOCUMENTS:
            return self._say(channel, payload)
        topic = self._address.topic(channel)
        return self._connection.publish(topic, payload, content_type=_FRAME, expiry_s=SESSION_EXPIRY_S)

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        """Empty an inbox."""
        return self.inboxes.take(channel)

    def wait(self, timeout_s: float) -> bool:
        """Wait for an ack or a change of the connection; False on a time-out."""
        return self.inboxes.holds(Channel.ACK) or self._connection.wait_change(timeout_s)

    def close(self, farewell: Mapping[str, Any]) -> None:
        """Say goodbye, retained, and disconnect."""
        if self._say(Channel.STATE, announcement.write(farewell, self._address.device)):
            self._connection.wait_sent(_GOODBYE_S)
        self._connection.stop()

    def _announce(self) -> None:
        self._say(Channel.BIRTH, self._birth)
        self._say(Channel.STATE, announcement.write({"state": "online"}, self._address.device))

    def _say(self, channel: Channel, payload: bytes) -> bool:
        topic, retain = self._address.topic(channel), channel in RETAINED
        return self._connection.publish(topic, payload, retain=retain, content_type=_JSON)

    def _take(self, message: MQTTMessage) -> None:
        if (channel := self._channels.get(message.topic)) is not None:
            self.inboxes.put(channel, bytes(message.payload))
