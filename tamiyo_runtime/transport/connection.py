"""One MQTT connection that keeps itself up: paho-mqtt with our own reconnect loop.

paho's own loop retries without jitter, so a fleet returns in step after a broker's restart; its offline queue is
bounded RAM that rejects the newest and forgets everything at a kill. So: full jitter here, and `publish` refuses
while there is no connection. Each time MQTT 5 is tried first, and 3.1.1 when the broker does not answer to it; message
expiry and content type are told where the version has room for them. A client certificate is read again before each
connection, since it is renewed while a device runs. A connection that swallows what is sent is given up when the next
message is to be sent, long before the keep-alive would find out. Callbacks run on paho's thread and must only hand
things on.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.errors import InputError, MissingExtraError
from tamiyo_runtime.transport.access import Access, BrokerAddress

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

KEEPALIVE_S = 30
"""How long a connection may be silent before the other end is asked whether it is still there."""
IN_FLIGHT = 20
DEAF_S = 20.0
"""A broker that has answered none of several messages for so long is gone: it answers each as soon as it has it."""
SESSION_EXPIRY_S = 7 * 24 * 3600
_BACKOFF_BASE_S = 0.5
_BACKOFF_CAP_S = 120.0
_LASTING_S = 5.0
_NO_GOODBYE_S = 0.5
_BRIEF = 4
"""Connections that end sooner count as failures, this many at most: two devices of one name throw each other out for
ever, and would do so several times a second.
"""


def backoff_s(failures: int, rng: random.Random, *, base_s: float = _BACKOFF_BASE_S, cap_s: float) -> float:
    """Full jitter: uniform in 0..min(cap, base * 2^failures), so that a fleet spreads out evenly."""
    return rng.uniform(0.0, min(cap_s, base_s * 2.0 ** min(failures, 30)))


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says, retained, when this client is lost."""

    topic: str
    payload: bytes
    content_type: str | None = None


class Connection:
    """See the module's description.

    ``on_up`` runs after each (re)connection; ``on_message`` gets every message. With ``manual_ack`` a message counts as
    received only after `ack`. ``persistent`` asks the broker to keep subscriptions and messages while away.
    ``largest_packet_bytes``: a broker that speaks MQTT 5 is to send nothing larger; None for no limit. ``deaf_s`` on
    ``clock_s``: see `DEAF_S`.

    With ``on_turn`` many messages are read at once: it runs on paho's thread after each such stretch, see `bulk.serve`;
    what is published or acknowledged outside it waits for the next turn. MQTT 3.1.1 is spoken then, for paho takes as
    long to make the properties of MQTT 5, used or not, as for the rest of a message.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        *,
        subscriptions: Sequence[str],
        on_message: Callable[[MQTTMessage], None],
        on_up: Callable[[], None] = lambda: None,
        will: Will | None = None,
        access: Access | None = None,
        persistent: bool = False,
        manual_ack: bool = False,
        backoff_cap_s: float = _BACKOFF_CAP_S,
        largest_packet_bytes: int | None = None,
        on_turn: Callable[[bool], float] | None = None,
        keepalive_s: int = KEEPALIVE_S,
        deaf_s: float = DEAF_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        address = BrokerAddress.parse(url)
        self.host, self.port = address.host, address.port
        self._access = access or Access()
        self._user = address.user or self._access.user
        self._tls = self._access.context() if address.tls else None
        _paho()
        self._client_id = client_id
        self._subscriptions = [(topic, 1) for topic in subscriptions]
        self._on_message = on_message
        self._on_up = on_up
        self._will = will
        self._persistent = persistent
        self._manual_ack = manual_ack
        self._backoff_cap_s = backoff_cap_s
        self._on_turn = on_turn
        self._keepalive_s = keepalive_s
        self._deaf_s, self._clock_s = deaf_s, clock_s
        self._unanswered_since_s: float | None = None
        self._largest_packet_bytes = largest_packet_bytes
        self._rng = random.Random()  # noqa: S311 - spreads reconnects, guards nothing
        self._client: Client | None = None
        self._last_sent: MQTTMessageInfo | None = None
        self._answered = self._refused = self._reaching = False
        self._up = threading.Event()
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{client_id}", daemon=True)
        self.last_error = "not connected yet"

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._thread.start()

    def connected(self) -> bool:
        """Whether the broker has accepted us and the subscriptions are on their way."""
        return self._up.is_set()

    def trouble(self) -> str | None:
        """Why nothing gets through: no connection, or the broker refuses what we send. None when all is well."""
        return self.last_error if self._refused or not self._up.is_set() else None

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until connected; False on a time-out (`last_error` says why)."""
        return self._up.wait(timeout_s)

    def wait_change(self, timeout_s: float) -> bool:
        """Wait for a message or a change of the connection since the last call; False on a time-out."""
        changed = self._changed.wait(timeout_s)
        self._changed.clear()
        return changed

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        content_type: str | None = None,
        expiry_s: int | None = None,
        qos: int = 1,
    ) -> bool:
        """Hand a message to paho; False when there is no connection or paho's window is full.

        ``content_type`` and ``expiry_s`` (how long the broker may keep it for those away) are told by MQTT 5 only.
        """
        client = self._client
        if client is None or not self._up.is_set():
            return False
        if qos and self._is_deaf():
            self._hang_up(client)
            return False
        properties = None
        if client.protocol == _paho().MQTTv5:
            properties = _properties("PUBLISH", ContentType=content_type, MessageExpiryInterval=expiry_s)
        self._last_sent = client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        return bool(self._last_sent.rc == 0)

    def _is_deaf(self) -> bool:
        """Whether the broker has answered nothing for too long. From now on an answer is awaited."""
        now_s, since_s = self._clock_s(), self._unanswered_since_s
        if since_s is None:
            self._unanswered_since_s = now_s  # before the message goes out, lest its answer is there first
            return False
        return now_s - since_s >= self._deaf_s

    def _hang_up(self, client: Client) -> None:
        """End the connection without a goodbye, which would only wait behind what does not get through."""
        self._unanswered_since_s = None
        line: Any = client.socket()
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def wait_sent(self, timeout_s: float) -> None:
        """Wait until the broker has the last message published, or the time is over."""
        if self._last_sent is not None:
            with contextlib.suppress(RuntimeError, ValueError):  # paho's ways to say that the connection broke
                self._last_sent.wait_for_publish(timeout_s)

    def ack(self, message: MQTTMessage) -> None:
        """Tell the broker that a message is safe with us. After a reconnect this is a harmless repeat."""
        if self._client is not None and self._up.is_set():
            self._client.ack(message.mid, message.qos)

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Disconnect cleanly (no will) and end the thread."""
        self._stopping.set()
        if self._client is not None:
            self._client.disconnect()
        if self._thread.is_alive():  # deep in a handshake that nobody answers it has nothing to finish
            self._thread.join(min(timeout_s, _NO_GOODBYE_S) if self._reaching else timeout_s)

    def _run(self) -> None:
        paho = _paho()
        versions = (paho.MQTTv5, paho.MQTTv311) if self._on_turn is None else (paho.MQTTv311,)
        protocols = list(versions)
        failures = 0
        while not self._stopping.is_set():
            protocol = protocols[0]
            if self._client is None or self._client.protocol != protocol:
                self._client = self._make(protocol)
            self._answered = False
            begun_s = self._clock_s()
            reached = self._connect_and_serve(self._client, protocol)
            self._up.clear()
            self._changed.set()
            if self._answered:
                failures = 0 if self._clock_s() - begun_s >= _LASTING_S else min(failures, _BRIEF)
                protocols = list(versions)  # it may be another broker, or a later one, next time
            elif reached:
                protocols.reverse()  # the broker hung up without a welcome: it may not speak this version
                if protocol == paho.MQTTv5:
                    continue
            self._stopping.wait(backoff_s(failures, self._rng, cap_s=self._backoff_cap_s))
            failures += 1

    def _connect_and_serve(self, client: Client, protocol: int) -> bool:
        """One connection from beginning to end; whether the broker could be reached at all."""
        options: dict[str, Any] = {}
        if protocol == _paho().MQTTv5:
            options["clean_start"] = not self._persistent
            options["properties"] = _properties(
                "CONNECT",
                SessionExpiryInterval=SESSION_EXPIRY_S if self._persistent else None,
                MaximumPacketSize=self._largest_packet_bytes,
            )
        self._reaching = True
        try:
            if self._tls is not None:
                self._access.show_identity(self._tls)
            client.connect(self.host, self.port, keepalive=self._keepalive_s, **options)
        except InputError as exc:
            self.last_error = exc.message
            return False
        except (OSError, ValueError) as exc:  # ValueError: a name that no resolver would take
            self.last_error = f"{self.host}:{self.port}: {exc}"
            return False
        finally:
            self._reaching = False
        if self._stopping.is_set():  # meanwhile: `stop` found no line to hang up, and nobody waits for this one
            client.disconnect()
            return True
        try:
            if self._on_turn is None:
                client.loop_forever()
            else:
                from tamiyo_runtime.transport.bulk import serve

                serve(client, self._on_turn)
        except Exception as exc:  # noqa: BLE001 - a malformed packet must not end the thread for good
            self.last_error = f"{self.host}:{self.port}: {type(exc).__name__}: {exc}"
            self._client = None  # its state is unknown, and letting go of it closes its socket
            return False
        return True

    def _make(self, protocol: int) -> Client:
        paho = _paho()
        from paho.mqtt.enums import CallbackAPIVersion

        kind: Any = paho.Client
        if self._on_turn is not None:
            from tamiyo_runtime.transport.bulk import BulkClient

            kind = BulkClient
        client: Client = kind(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=not self._persistent if protocol == paho.MQTTv311 else None,
            protocol=protocol,
            reconnect_on_failure=False,
            manual_ack=self._manual_ack,
        )
        client.max_inflight_messages_set(IN_FLIGHT)
        client.max_queued_messages_set(4 * IN_FLIGHT)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._received if self._on_turn is None else self._received_in_bulk
        client.on_publish = self._taken
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._user is not None or self._access.password is not None:
            client.username_pw_set(self._user or "", self._access.password)
        if will := self._will:
            properties = None
            if protocol == paho.MQTTv5:
                properties = _properties("WILLMESSAGE", ContentType=will.content_type)
            client.will_set(will.topic, will.payload, qos=1, retain=True, properties=properties)
        return client

    def _connected(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.last_error = f"{self.host}:{self.port} refused: {reason}"
            return
        self._answered = True
        self._unanswered_since_s = None
        if self._subscriptions:
            client.subscribe(self._subscriptions)
        self._up.set()
        self._on_up()
        self._changed.set()

    def _disconnected(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._up.clear()
        if not self._refused:  # mosquitto also hangs up on whom it refuses, and says no more then
            self.last_error = f"{self.host}:{self.port} disconnected: {reason}"
        self._changed.set()

    def _taken(self, client: Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        """The broker has a message, or in MQTT 5 says why it does not want it."""
        self._unanswered_since_s = None
        self._refused = reason.is_failure
        if self._refused:
            self.last_error = f"{self.host}:{self.port} refuses what {self._client_id} sends: {reason}"

    def _received(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._on_message(message)
        self._changed.set()

    def _received_in_bulk(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._on_message(message)


def _properties(packet: str, **values: Any) -> Any:
    """Properties of an MQTT 5 packet, without those that are None."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(getattr(PacketTypes, packet))  # type: ignore[no-untyped-call]  # paho leaves it untyped
    for name, value in values.items():
        if value is not None:
            setattr(properties, name, value)
    return properties


def _paho() -> Any:
    try:
        import paho.mqtt.client
    except ImportError as exc:
        raise MissingExtraError("paho.mqtt", "mqtt") from exc
    return paho.mqtt.client
