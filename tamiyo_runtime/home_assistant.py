"""Shows a device in Home Assistant: retained discovery messages, and the figures of the last window as JSON.

An addition beside telemetry, for a home's own broker: nothing here is spooled, acked or counted in the ledger. It has a
connection of its own; whether the device is available is told by the state topic of the other, its last will included.
Topics and fields are those of Home Assistant's documentation, "MQTT discovery" and "MQTT sensor".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime import __version__
from tamiyo_runtime.contracts.records import Window
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.connection import Connection
from tamiyo_runtime.transport.topics import Address, Channel

PREFIX = "homeassistant"
EVERY_S = 10.0

_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One sensor. ``value`` of a window; None: this window cannot tell. ``kind``: Home Assistant's device class."""

    key: str
    name: str
    value: Callable[[Window], float | int | str | None]
    unit: str | None = None
    kind: str | None = None
    measurement: bool = True


ENTITIES = (
    Entity(key="configuration", name="Configuration", value=lambda w: _most(w.counts), measurement=False),
    Entity(
        key="latency_p50_ms",
        name="Latency, median",
        value=lambda w: _of(w, w.latency_p50_us),
        unit="ms",
        kind="duration",
    ),
    Entity(
        key="latency_p95_ms", name="Latency, p95", value=lambda w: _of(w, w.latency_p95_us), unit="ms", kind="duration"
    ),
    Entity(
        key="power_mw",
        name="Power of inferences",
        value=lambda w: round(w.energy_uj / w.duration_ms, 3) if w.duration_ms else None,
        unit="mW",
        kind="power",
    ),
    Entity(
        key="accuracy",
        name="Accuracy",
        value=lambda w: round(100 * w.correct / w.labelled, 1) if w.labelled else None,
        unit="%",
    ),
    Entity(key="inferences", name="Inferences in window", value=lambda w: w.inferences),
    Entity(key="skipped", name="Skipped in window", value=lambda w: w.skipped),
    Entity(key="deadline_misses", name="Deadlines missed in window", value=lambda w: w.deadline_misses),
    Entity(key="throttle", name="Slowdown of the board", value=lambda w: w.throttle_permille / 1000, unit="x"),
)


class HomeAssistant:
    """See the module's description. ``board`` and ``bundle`` are shown as model and version of the device.

    Raises InputError for a bad URL or certificate, MissingExtraError without paho-mqtt.
    """

    def __init__(self, url: str, address: Address, *, board: str, bundle: str, access: Access | None = None) -> None:
        self._address = address
        self._cards = discovery(address, board=board, bundle=bundle)
        self._next_ms = 0
        self._last: bytes | None = None
        self._connection = Connection(
            url,
            f"tamiyo-ha-{address.fleet}-{address.device}",
            subscriptions=[],
            on_message=lambda _: None,
            on_up=self._announce,
            access=access,
        )

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._connection.start()

    def show(self, window: Window) -> None:
        """Publish a window's figures, at most every ten seconds; without a connection the last ones follow later."""
        end_ms = window.t_ms + window.duration_ms
        if end_ms >= self._next_ms:
            self._next_ms = end_ms + int(EVERY_S * 1000)
            self._last = json.dumps(figures(window), separators=(",", ":")).encode()
            self._publish(self._address.topic(Channel.HOME), self._last)

    def close(self) -> None:
        """Disconnect. The entities stay, as unavailable."""
        self._connection.wait_sent(0.5)
        self._connection.stop()

    def _announce(self) -> None:
        for topic, card in self._cards.items():
            self._publish(topic, json.dumps(card).encode())
        if self._last is not None:
            self._publish(self._address.topic(Channel.HOME), self._last)

    def _publish(self, topic: str, payload: bytes) -> None:
        self._connection.publish(topic, payload, retain=True, content_type=_JSON)


def discovery(address: Address, *, board: str, bundle: str) -> dict[str, dict[str, Any]]:
    """The discovery message of each entity, by topic."""
    name = f"tamiyo_{address.fleet}_{address.device}"
    shared = {
        "state_topic": address.topic(Channel.HOME),
        "availability_topic": address.topic(Channel.STATE),
        "availability_template": "{{ 'online' if value_json.state == 'online' else 'offline' }}",
        "device": {"identifiers": [name], "name": address.device, "model": board, "sw_version": bundle},
        "origin": {"name": "tamiyo", "sw_version": __version__},
    }
    cards = {}
    for entity in ENTITIES:
        own = {
            "name": entity.name,
            "unique_id": f"{name}_{entity.key}",
            "value_template": f"{{{{ value_json.{entity.key} }}}}",
            "unit_of_measurement": entity.unit,
            "device_class": entity.kind,
            "state_class": "measurement" if entity.measurement else None,
        }
        card = {key: value for key, value in own.items() if value is not None} | shared
        cards[f"{PREFIX}/sensor/{address.device}/{entity.key}/config"] = card
    return cards


def figures(window: Window) -> dict[str, float | int | str | None]:
    """What the entities say of a window."""
    return {entity.key: entity.value(window) for entity in ENTITIES}


def _most(counts: Mapping[str, int]) -> str | None:
    return max(counts, key=counts.__getitem__) if counts else None


def _of(window: Window, latency_us: int) -> float | None:
    return latency_us / 1000 if window.inferences else None
