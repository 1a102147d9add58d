"""The collector: takes messages off the broker, commits them in groups, and only then acknowledges them.

Two threads. paho's hands each message to a bounded queue; when that is full it waits, the broker's window fills up
and the back-pressure reaches the devices, whose spools hold the rest. The store's thread commits what has gathered,
then sends one ack a device and boot, then releases the messages to the broker. Killed at any moment, it has either
committed a message or will get it again; the store ignores what it has.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING

from collector.arrivals import Arrival, Delivery, Rejected
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

QUEUE = 256
GROUP = 500
_RETRY_S = 1.0
_ACK_EXPIRY_S = 600  # whoever did not hear it by then has sent again
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
        self._queue: Queue[Delivered] = Queue(QUEUE)
        self._connection = Connection(
            url,
            f"tamiyo-collector-{fleet}",
            subscriptions=[fleet_filter(fleet, channel) for channel in channels],
            on_message=self._take,
            access=access,
            persistent=True,
            manual_ack=True,
            backoff_cap_s=_BACKOFF_CAP_S,
        )
        self.store = Store(store_path)
        self._stopping = threading.Event()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self, *, timeout_s: float | None = None) -> None:
        """Begin. With ``timeout_s`` wait until connected and raise InputError when that takes longer."""
        self._thread.start()
        self._connection.start()
        if timeout_s is not None and not self._connection.wait_connected(timeout_s):
            self.stop()
            raise InputError(
                f"no broker: {self._connection.last_error}", hint="start one with: tamiyo broker, or check the URL"
            )

    def stop(self) -> None:
        """Commit and acknowledge what has come in, then disconnect and close the store."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._connection.stop()
        self.store.close()

    def status(self) -> Status:
        """How it is doing now."""
        connected = self._connection.connected()
        trouble = self._trouble or (None if connected else self._connection.last_error)
        return Status(connected, self._queue.qsize(), trouble)

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _take(self, message: MQTTMessage) -> None:
        """On paho's thread: understand the message and queue it, waiting while the queue is full."""
        came = arrival(message.topic, bytes(message.payload), time.time(), fleet=self._fleet)
        while not self._stopping.is_set():
            try:
                self._queue.put((message, came), timeout=0.2)
            except Full:
                continue
            return

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._queue.empty()):
            group = self._gather()
            if group:
                self._acknowledge(self._store(group))

    def _gather(self) -> list[Delivered]:
        try:
            group = [self._queue.get(timeout=0.2)]
        except Empty:
            return []
        while len(group) < GROUP:
            try:
                group.append(self._queue.get_nowait())
            except Empty:
                break
        return group

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
                # if it gets lost, the device sends again
                self._connection.publish(topic, wire.encode_ack(ack, device=device), expiry_s=_ACK_EXPIRY_S)
        for message, _ in group:
            self._connection.ack(message)
