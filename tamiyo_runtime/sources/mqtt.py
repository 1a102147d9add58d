"""Messages of an MQTT topic: ``mqtt://HOST:PORT/TOPIC``, one sample a message.

A payload is a JSON array, or the bytes of as many little-endian float32 as a sample has (``format=json`` or ``f32``
where both would fit). Size and rate are bounded before anything is looked at: whoever may publish to the topic can
send what he likes.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import Array, Intake, Loss, Sample, sources
from tamiyo_runtime.sources.inbox import Drop, FlawError, Inbox
from tamiyo_runtime.sources.lines import line_limit, parse_line, shaped
from tamiyo_runtime.sources.stdin import inbox_of
from tamiyo_runtime.transport.connection import Connection

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_RATE = 1000.0
_FORMATS = ("auto", "json", "f32")
_TOPIC_BYTES = 65535


@sources.register("mqtt")
class MqttSource:
    """Opens a subscription."""

    @staticmethod
    def open(bundle: Bundle, address: Address) -> MqttStream:
        """A stream without an end; raises InputError for a bad address or topic, MissingExtraError without paho."""
        address.only("format", "rate", "queue", "drop")
        broker, _, topic = address.body.partition("/")
        _check_topic(topic, address)
        drop = Drop(address.choice("drop", Drop.OLDEST, (Drop.OLDEST, Drop.NEWEST)))
        return MqttStream(
            inbox_of(address, f"mqtt://{broker}/{topic}", drop=drop),
            bundle.manifest.input,
            f"mqtt://{broker}",
            topic,
            form=address.choice("format", "auto", _FORMATS),
            rate=address.number("rate", _RATE, low=0.001, high=1e5),
        )


class MqttStream:
    """A `Stream` of messages. The connection's thread parses and queues; it is never made to wait."""

    live = True

    def __init__(self, inbox: Inbox, spec: InputSpec, url: str, topic: str, *, form: str, rate: float) -> None:
        self.label = inbox.label
        self._inbox, self._spec, self._form = inbox, spec, form
        self._limit = RateLimit(rate)
        self._connection = Connection(
            url, f"tamiyo-source-{secrets.token_hex(6)}", subscriptions=[topic], on_message=self._receive
        )
        self._started = False
        self.take: Callable[[float], Sample | None] = inbox.take
        self.ended: Callable[[], bool] = inbox.ended

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._started = True
        self._connection.start()

    def intake(self) -> Intake:
        """Counts so far."""
        self._inbox.tell(
            "connected" if self._connection.connected() else f"not connected: {self._connection.last_error}"
        )
        return self._inbox.intake()

    def close(self) -> None:
        """Unsubscribe by leaving."""
        self._inbox.close()
        if self._started:
            self._connection.stop()

    def _receive(self, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        if not self._limit.allows(time.monotonic()):
            self._inbox.refuse(FlawError(Loss.TOO_FAST, "more messages than the rate allows"))
            return
        try:
            self._inbox.put(parse_payload(payload, self._spec, self._form))
        except FlawError as flaw:
            self._inbox.refuse(flaw, payload)


class RateLimit:
    """So many a second, and as many at once after a rest of a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._level = self._size = max(1.0, rate)
        self._at_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Whether one more is within the limit now."""
        elapsed_s = 0.0 if self._at_s is None else now_s - self._at_s
        self._at_s = now_s
        self._level = min(self._size, self._level + elapsed_s * self._rate)
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


def parse_payload(payload: bytes, spec: InputSpec, form: str) -> Array:
    """A message as a sample; raises FlawError."""
    limit, raw_bytes = line_limit(spec), 4 * math.prod(spec.shape)
    if len(payload) > max(limit, raw_bytes):
        raise FlawError(Loss.TOO_LONG, f"it has {len(payload)} bytes, the limit is {max(limit, raw_bytes)}")
    text = payload.strip()
    as_json = form == "json" or (form == "auto" and text.startswith(b"[") and text.endswith(b"]") and text.isascii())
    if as_json:
        if not text.startswith(b"["):
            raise FlawError(Loss.NOT_NUMBERS, "it is no JSON array")
        return parse_line(text, spec)
    if len(payload) != raw_bytes:
        raise FlawError(
            Loss.WRONG_COUNT,
            f"it has {len(payload)} bytes, neither a JSON array nor the {raw_bytes} of a float32 array",
        )
    return shaped(np.frombuffer(payload, "<f4"), spec)


def _check_topic(topic: str, address: Address) -> None:
    """Names and wildcards as MQTT has them (specification, 4.7)."""
    levels = topic.split("/")
    good = topic and len(topic.encode()) <= _TOPIC_BYTES and topic.isprintable()
    good = (
        good and all(level in {"+", "#"} or not set(level) & set("+#") for level in levels) and "#" not in levels[:-1]
    )
    if not good:
        raise InputError(f"'{address.text}' names no topic", hint="write --source mqtt://HOST:PORT/sensors/hall-3")
