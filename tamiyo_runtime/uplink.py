"""Sends what is spooled over the link there is: most important first, in full frames, again until the collector has it.

A frame is sent when it is full, when it holds an alarm, or when its oldest record has waited long enough; never
before the link allows it and never beyond the budget. Records stay in the spool until an ack names them, and an ack
frees nothing that was not sent; a frame without ack is sent again after a time that doubles with every try.
Everything runs in the caller's thread on the caller's clock.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import Ack, LossReason, Numbered, Priority, Tombstone
from tamiyo_runtime.link import Link
from tamiyo_runtime.spool import Key, Spool, Spooled
from tamiyo_runtime.transport.port import Transport
from tamiyo_runtime.transport.topics import Channel

_FRAME_RECORDS = 512
_HEADER_BYTES = 24  # version, boot, bundle, first seq, created, check sum: about what a frame takes beside its records
_FULL = 0.85  # a frame this full is worth sending at once
_SETTLE_STEP_S = 0.02
_IMPATIENT_S = 0.06  # how long to wait for an ack in real time after one has failed to come


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When to send and when to send again. Seconds on the runtime's clock but ``settle_s``.

    ``event_wait_s`` and ``metric_wait_s``: how long a record may wait for company. ``settle_s``: real seconds to wait
    for the ack of each frame, so that a simulation, whose clock runs away from the broker's, repeats itself exactly.
    """

    event_wait_s: float = 5.0
    metric_wait_s: float = 60.0
    ack_timeout_s: float = 30.0
    ack_timeout_cap_s: float = 600.0
    in_flight: int = 20
    settle_s: float = 0.0


@dataclass(slots=True)
class Flight:
    """A frame that was sent and is not acked yet."""

    frame: bytes
    channel: Channel
    boot: int
    waiting: set[int]
    due_s: float
    tries: int = 1


@dataclass(slots=True)
class Traffic:
    """What sending took so far. ``lost``: frames the link ate, ``resent``: frames sent again."""

    transmissions: int = 0
    bytes_sent: int = 0
    airtime_s: float = 0.0
    energy_uj: float = 0.0
    resent: int = 0
    lost: int = 0
    recent_airtime: deque[tuple[float, float]] = field(default_factory=deque)
    recent_bytes: deque[tuple[float, int]] = field(default_factory=deque)


class Uplink:
    """See the module's description.

    ``bundle``: first 8 hex digits of the manifest's sha256, of what runs when a frame is made. ``device``: whose
    frames these are, as in their topic.
    """

    def __init__(
        self,
        spool: Spool,
        link: Link,
        transport: Transport,
        *,
        bundle: str,
        device: str = "",
        pace: Pace | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.traffic = Traffic()
        self._spool = spool
        self._link = link
        self.transport = transport
        self.bundle = bundle
        self._device = device
        self._pace = pace or Pace()
        self._budget = budget
        self._flights: list[Flight] = []
        self._sent_up_to: dict[Priority, Key] = {}
        self._loaded: dict[Priority, list[Spooled]] = {priority: [] for priority in Priority}
        self._candidates: list[Spooled] = []
        self._candidate_bytes = 0
        self._seen_commits = -1
        self._seen_drops = 0
        self._held_for: int | None = None  # the commit count at which the candidates were found not worth sending
        self._waiting_since_s: float | None = None
        self._impatient = False
        self._was_connected = False
        self._largest_airtime_s = 0.0

    @property
    def in_flight(self) -> int:
        """Frames sent and not acked."""
        return len(self._flights)

    def connected(self) -> bool:
        """Whether the transport can take a frame."""
        return self.transport.connected()

    def trouble(self) -> str | None:
        """Why nothing gets through to the broker, None when all is well."""
        return self.transport.trouble()

    def idle(self) -> bool:
        """Whether everything committed has been sent and acked."""
        return not self._flights and not self._look()

    def pump(self, now_s: float, *, everything: bool = False) -> None:
        """Take in acks, then send what is due. ``everything``: don't wait for company, this is the end."""
        self._take_acks()
        connected = self.transport.connected()
        if connected and not self._was_connected:
            for flight in self._flights:  # a broker that went away may have forgotten it, or its ack
                flight.due_s = now_s
        self._was_connected = connected
        while self._send_one(now_s, everything=everything):
            pass

    def next_s(self, now_s: float) -> float:
        """When `pump` may have something to do next, as far as the link and time-outs go; at least ``now_s``."""
        times = [flight.due_s for flight in self._flights]
        if self._look():
            times.append(self._link.ready_at_s(min(self._estimate(), self._link.max_payload_bytes()), now_s))
        return max(now_s, min(times, default=now_s))

    def wait(self, timeout_s: float) -> None:
        """Wait in real time for an ack or a connection."""
        self.transport.wait(timeout_s)

    def close(self, farewell: dict[str, object]) -> None:
        """Say goodbye and disconnect."""
        self.transport.close(farewell)

    def _take_acks(self) -> None:
        for payload in self.transport.receive():
            try:
                ack = wire.decode_ack(payload, device=self._device)
            except SchemaError:
                continue  # a stranger's words free nothing; the frame is sent again
            flights = [flight for flight in self._flights if flight.boot == ack.boot]
            named = {seq for flight in flights for seq in flight.waiting if _covers(ack, seq)}
            if not named:
                continue  # whatever it names was not sent, or was acked before
            try:
                self._spool.acked(Ack(ack.boot, wire.spans(named)))
            except sqlite3.OperationalError:
                continue  # a full disk: the frame is sent again, and acked again, until there is room to note it
            self._impatient = False
            for flight in flights:
                flight.waiting -= named
            self._flights = [flight for flight in self._flights if flight.waiting]

    def _look(self) -> list[Spooled]:
        """Records not sent yet, most important first, all of one boot. Reads only what was committed since."""
        if self._seen_drops != self._spool.drops:
            self._seen_drops = self._spool.drops
            self._loaded = {priority: [] for priority in Priority}
        if self._seen_commits != self._spool.commits:
            self._seen_commits = self._spool.commits
            for priority, loaded in self._loaded.items():
                after = loaded[-1].key if loaded else self._sent_up_to.get(priority)
                if room := _FRAME_RECORDS - len(loaded):
                    loaded.extend(self._spool.pending(priority, after=after, limit=room))
            boot = next((loaded[0].key.boot for loaded in self._loaded.values() if loaded), None)
            # Of each priority up to the first of another boot: what is sent goes in order, and none is passed over.
            self._candidates = [
                spooled
                for loaded in self._loaded.values()
                for spooled in takewhile(lambda spooled: spooled.key.boot == boot, loaded)
            ]
            self._candidate_bytes = sum(spooled.size_bytes for spooled in self._candidates)
        return self._candidates

    def _estimate(self) -> int:
        return _HEADER_BYTES + self._candidate_bytes

    def _send_one(self, now_s: float, *, everything: bool) -> bool:
        if not self.transport.connected():
            return False
        for flight in self._flights:
            if flight.due_s <= now_s and self._allowed(len(flight.frame), now_s):
                self._resend(flight, now_s)
                return True
        candidates = self._look()
        if not candidates or len(self._flights) >= self._pace.in_flight:
            return False
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        urgent = everything or self._urgent(candidates, now_s)
        limit = self._link.max_payload_bytes()
        if not urgent and (self._held_for == self._spool.commits or self._estimate() < _FULL * limit):
            return False
        if not self._allowed(min(self._estimate(), _HEADER_BYTES), now_s):
            return False  # not even the smallest frame may go: spare the packing
        frame, taken = self._pack(candidates, limit)
        if not taken:
            return self._give_up(candidates[0])
        if not urgent and taken == len(candidates) and len(frame) < _FULL * limit:
            self._held_for = self._spool.commits
            return False
        if not self._allowed(len(frame), now_s):
            return False
        self._launch(frame, candidates[:taken], now_s)
        return True

    def _give_up(self, spooled: Spooled) -> bool:
        """Bury a record that no frame can carry. A tombstone stays: burying it would need another, just as large."""
        if isinstance(spooled.record, Tombstone):
            return False
        try:
            self._spool.drop([spooled.key], LossReason.TOO_LARGE)
        except sqlite3.OperationalError:
            return False  # a full disk: later
        return True

    def _urgent(self, candidates: Sequence[Spooled], now_s: float) -> bool:
        first = candidates[0].key.priority
        waited_s = now_s - (now_s if self._waiting_since_s is None else self._waiting_since_s)
        if first is Priority.ALARM:
            return True
        return waited_s >= (self._pace.event_wait_s if first is Priority.EVENT else self._pace.metric_wait_s)

    def _pack(self, candidates: Sequence[Spooled], limit: int) -> tuple[bytes, int]:
        boot = candidates[0].key.boot
        numbered = [Numbered(spooled.key.seq, spooled.record) for spooled in candidates]
        return wire.pack(boot, self.bundle, numbered, limit, created=self._spool.created(boot), device=self._device)

    def _allowed(self, size: int, now_s: float) -> bool:
        if self._link.ready_at_s(size, now_s) > now_s:
            return False
        budget, traffic = self._budget, self.traffic
        if budget is None:
            return True
        if budget.airtime_s_per_hour is not None:
            spent_s = _within(traffic.recent_airtime, now_s - 3600.0)
            if spent_s + self._largest_airtime_s > budget.airtime_s_per_hour:
                return False
        if budget.link_bytes_per_day is None:
            return True
        return _within(traffic.recent_bytes, now_s - 86400.0) + size <= budget.link_bytes_per_day

    def _launch(self, frame: bytes, records: Sequence[Spooled], now_s: float) -> None:
        urgent = any(spooled.key.priority is not Priority.METRIC for spooled in records)
        channel = Channel.EVENTS if urgent else Channel.TELEMETRY
        seqs = {spooled.key.seq for spooled in records}
        for spooled in records:
            self._sent_up_to[spooled.key.priority] = spooled.key
        for priority, loaded in self._loaded.items():
            sent = self._sent_up_to.get(priority)
            self._loaded[priority] = [spooled for spooled in loaded if sent is None or spooled.key > sent]
        self._seen_commits = -1
        self._waiting_since_s = None
        flight = Flight(frame, channel, records[0].key.boot, seqs, now_s + self._pace.ack_timeout_s)
        self._flights.append(flight)
        self._transmit(flight, now_s)

    def _resend(self, flight: Flight, now_s: float) -> None:
        delay_s = min(self._pace.ack_timeout_cap_s, self._pace.ack_timeout_s * 2.0**flight.tries)
        flight.due_s = now_s + delay_s
        flight.tries += 1
        self.traffic.resent += 1
        self._transmit(flight, now_s)

    def _transmit(self, flight: Flight, now_s: float) -> None:
        size, traffic = len(flight.frame), self.traffic
        sent = self._link.transmit(size, now_s)
        traffic.transmissions += 1
        traffic.bytes_sent += size
        traffic.airtime_s += sent.airtime_s
        traffic.energy_uj += sent.energy_uj
        self._largest_airtime_s = max(self._largest_airtime_s, sent.airtime_s)
        if self._budget is not None:
            traffic.recent_airtime.append((now_s, sent.airtime_s))
            traffic.recent_bytes.append((now_s, size))
        if not sent.delivered:
            traffic.lost += 1
        elif self.transport.publish(flight.channel, flight.frame) and self._pace.settle_s > 0:
            self._settle(flight)

    def _settle(self, flight: Flight) -> None:
        """Give the collector real time to answer before the simulated clock moves on."""
        left_s = _IMPATIENT_S if self._impatient else self._pace.settle_s
        while flight in self._flights and left_s > 0:
            if not self.transport.wait(_SETTLE_STEP_S):
                left_s -= _SETTLE_STEP_S
            self._take_acks()
        self._impatient = flight in self._flights


def _covers(ack: Ack, seq: int) -> bool:
    place = bisect_right(ack.ranges, seq, key=lambda span: span[0])
    return place > 0 and seq <= ack.ranges[place - 1][1]


def _within(spent: deque[tuple[float, float]] | deque[tuple[float, int]], since_s: float) -> float:
    while spent and spent[0][0] <= since_s:
        spent.popleft()
    return sum(amount for _, amount in spent)
