"""The collector: takes messages off the broker, commits them in groups, and only then acknowledges them.

One thread does it all, because Python runs one at a time anyway and handing messages over costs more than storing them.
It reads what the broker has sent; when the line falls quiet, or a group is full, it commits that group, sends one ack a
device and boot, and releases the messages to the broker. While it commits, the broker's window fills up and the
back-pressure reaches the devices, whose spools hold the rest. Killed at any moment, it has either committed a message
or will get it again; the store ignores what it has.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collector.arrivals import Arrival, Delivery, Rejected
from collector.clocks import SteadyClock
from collector.ingest import acks, arrival
from collector.store import Store
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.skim import Skim
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.connection import Connection
from tamiyo_runtime.transport.topics import Address, Channel, fleet_filter

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    Delivered = tuple[MQTTMessage, Arrival]

GROUP = 500
GROUP_BYTES = 4 << 20
GROUP_S = 0.2  # what has come in waits no longer than this for more
_LINGER_S = 0.002  # a line is quiet when nothing comes for so long
_IDLE_S = 0.2
_RETRY_S = 1.0
_BACKOFF_CAP_S = 5.0  # an operator's machine: there are few collectors, so coming back soon is worth more


@dataclass(frozen=True, slots=True)
class Status:
    """How the collector is doing. ``trouble`` says why it is not, None when all is well."""

    connected: bool
    waiting: int
    trouble: str | None


class Collector:
    """See the module's description. Raises InputError for a bad fleet or URL, MissingExtraError without paho-mqtt.

    One collector a fleet: a second one of the same ``fleet`` takes the broker's session over.
    """

    def __init__(self, url: str, store_path: Path, fleet: str, access: Access | None = None) -> None:
        self._fleet = fleet
        channels = (Channel.TELEMETRY, Channel.EVENTS, Channel.BIRTH, Channel.STATE)
        self._waiting: list[tuple[MQTTMessage, float]] = []
        self._waiting_bytes = 0
        self._connection = Connection(
            url,
            f"tamiyo-collector-{fleet}",
            subscriptions=[fleet_filter(fleet, channel) for channel in channels],
            on_message=self._take,
            access=access,
            persistent=True,
            manual_ack=True,
            backoff_cap_s=_BACKOFF_CAP_S,
            on_turn=self._turn,
        )
        self.store = Store(store_path)
        self._clock = SteadyClock(floor_s=self.store.latest_s())
        self._stopping = threading.Event()
        self._trouble: str | None = None
        self._done = threading.Event()

    def start(self, *, timeout_s: float | None = None) -> None:
        """Begin. With ``timeout_s`` wait until connected and raise InputError when that takes longer."""
        self._connection.start()
        if timeout_s is not None and not self._connection.wait_connected(timeout_s):
            self.stop()
            raise InputError(
                f"no broker: {self._connection.last_error}", hint="start one with: tamiyo broker, or check the URL"
            )

    def stop(self) -> None:
        """Commit and acknowledge what has come in, then disconnect and close the store."""
        self._stopping.set()
        if self._connection.connected():
            self._done.wait(10.0)
        self._connection.stop()
        self._work()  # what a connection that broke has left behind
        self.store.close()

    def status(self) -> Status:
        """How it is doing now."""
        connected = self._connection.connected()
        trouble = self._trouble or (None if connected else self._connection.last_error)
        return Status(connected, len(self._waiting), trouble)

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _take(self, message: MQTTMessage) -> None:
        self._waiting.append((message, self._clock.elapsed_s()))
        self._waiting_bytes += len(message.payload)

    def _turn(self, quiet: bool) -> float:
        """Commit what waits if it is time to; returns how long the line may be quiet until it is."""
        if self._waiting:
            full = len(self._waiting) >= GROUP or self._waiting_bytes >= GROUP_BYTES
            if full or quiet or self._stopping.is_set() or self._clock.elapsed_s() - self._waiting[0][1] >= GROUP_S:
                self._work()
        if self._stopping.is_set() and not self._waiting:
            self._done.set()
        return _LINGER_S if self._waiting else _IDLE_S

    def _work(self) -> None:
        """Understand, commit and acknowledge everything that waits."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        step_ms = self._clock.step_ms()
        if step_ms:
            self.store.shift_clocks(self._clock.epoch, step_ms)
        self._acknowledge(self._store([(message, self._understand(message, at_s)) for message, at_s in waiting]))

    def _understand(self, message: MQTTMessage, at_s: float) -> Arrival:
        clock = self._clock
        epoch = clock.epoch if clock.trusted(at_s) else None
        return arrival(message.topic, bytes(message.payload), clock.unix_s(at_s), fleet=self._fleet, epoch=epoch)

    def _store(self, group: list[Delivered]) -> list[Delivered]:
        """What of it is stored now. One message that the store cannot take must not hold up the others."""
        try:
            return group if self._commit([came for _, came in group]) else []
        except Exception as exc:  # noqa: BLE001 - whatever it is, it goes to the quarantine with its reason
            if len(group) > 1:
                return [stored for one in group for stored in self._store([one])]
            ((message, came),) = group
            reason = f"cannot be stored: {type(exc).__name__}: {exc}"
            rejected = Rejected(message.topic, reason, bytes(message.payload), came.received_s)
            return [(message, rejected)] if self._commit([rejected]) else []

    def _commit(self, arrivals: list[Arrival]) -> bool:
        """Whether it is stored. A full disk is waited out: nothing is acknowledged meanwhile, so nothing is lost."""
        while True:
            try:
                self.store.commit(arrivals)
            except sqlite3.Error as exc:
                self._trouble = f"the store cannot be written: {exc}"
                if self._stopping.wait(_RETRY_S):
                    return False
            else:
                self._trouble = None
                return True

    def _acknowledge(self, group: Iterable[Delivered]) -> None:
        stored: dict[str, list[Skim]] = {}
        for _, came in group:
            if isinstance(came, Delivery):
                stored.setdefault(came.device, []).append(came.frame)
        for device, frames in stored.items():
            topic = Address(self._fleet, device).topic(Channel.ACK)
            for ack in acks(frames):
                # QoS 0: no broker keeps it for a device that is away, and one that does not hear it sends again
                self._connection.publish(topic, wire.encode_ack(ack, device=device), qos=0)
        for message, _ in group:
            self._connection.ack(message)
