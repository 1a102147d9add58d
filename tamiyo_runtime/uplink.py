"""Sends what is spooled over the link there is: most important first, in full frames, again until the collector has it.

A frame is sent when it is full, when it holds an alarm, or when its oldest record has waited long enough; never
before the link allows it and never beyond the budget. Single samples go only where the link carries them. While a
contact lasts, its link is used in place of the slow one, and the budget, made for the slow one, is not charged.

Records stay in the spool until an ack names them, and an ack frees nothing that was not sent. A frame without ack is
sent again after a time that doubles with every try; where the link has become too narrow for it, its records are packed
anew. Everything runs in the caller's thread on the caller's clock.
"""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import Ack, LossReason, Numbered, Priority, Tombstone
from tamiyo_runtime.contracts.stamp import Stamp
from tamiyo_runtime.link import Link
from tamiyo_runtime.outbox import Outbox
from tamiyo_runtime.spool import Key, Spool, Spooled
from tamiyo_runtime.transport.port import Transport
from tamiyo_runtime.transport.topics import Channel

HEADER_BYTES = 32
"""Version, boot, bundle, first seq, created, stamp, sections, check sum: about what a frame takes beside records."""
TIGHT_BYTES = 64
"""Frames of a link that carries less than this leave out the bundle, and the stamp where it does not fit."""

_FULL = 0.85  # a frame this full is worth sending at once
_STEP_MS = 100  # an offset that has moved by less is the one that was told
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
    """A frame that was sent and is not acked yet. ``waiting``: key by number of what no ack has named."""

    frame: bytes
    channel: Channel
    boot: int
    waiting: dict[int, Key]
    stamp: Stamp | None
    due_s: float
    tries: int = 1

    @property
    def priority(self) -> Priority:
        """Of the most important record that waits."""
        return min((key.priority for key in self.waiting.values()), default=Priority.RAW)

    def fits(self, way: Link) -> bool:
        """Whether it can be sent that way."""
        raw = any(key.priority is Priority.RAW for key in self.waiting.values())
        return len(self.frame) <= way.max_payload_bytes() and (way.carries_raw or not raw)


@dataclass(slots=True)
class Traffic:
    """What sending took so far. ``lost``: frames the link ate, ``resent``: frames sent again.

    ``contact_bytes``: of ``bytes_sent``, those that went over contacts. ``recent_airtime`` of the last hour and
    ``recent_bytes`` of the last day: only where the budget limits them.
    """

    transmissions: int = 0
    bytes_sent: int = 0
    contact_bytes: int = 0
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
        self._outbox = Outbox(spool)
        self._told: dict[int, Stamp] = {}  # of each boot what the collector has acked to know
        self._way: Link = link
        self._now_s = -math.inf
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
        """Whether everything committed that the link can carry, now or later, has been sent and acked."""
        return not self._flights and not self._outbox.waiting(raw=self._ever_raw())

    def pump(self, now_s: float, *, everything: bool = False) -> None:
        """Take in acks, then send what is due. ``everything``: don't wait for company, this is the end."""
        self._now_s = now_s
        self._take_acks()
        connected = self.transport.connected()
        if connected and not self._was_connected:
            for flight in self._flights:  # a broker that went away may have forgotten it, or its ack
                flight.due_s = now_s
        self._was_connected = connected
        way = self._link.way(now_s)
        if way is not self._way:
            self._way, self._held_for = way, None
        while self._send_one(now_s, everything=everything):
            pass

    def next_s(self, now_s: float, *, everything: bool = False) -> float:
        """When `pump` may have something to do next, as link, budget and time-outs go; infinite for never.

        ``everything``: as in `pump`. What comes in meanwhile, an ack or a record, may make it sooner.
        """
        way = self._link.way(now_s)
        size = min(self._estimate(way), way.max_payload_bytes())
        free_s = now_s if way is not self._link else self._budget_frees_s(size, now_s)
        times = [max(flight.due_s, free_s) for flight in self._flights]
        if candidates := self._outbox.waiting(raw=way.carries_raw):
            if not self._crowded(candidates[0].key.priority):
                company_s = now_s if everything else self._company_s(candidates, way, now_s)
                times.append(max(way.ready_at_s(size, now_s), free_s, company_s))
        elif self._outbox.waiting(raw=True):
            times.append(self._link.changes_at_s(now_s))
        return max(now_s, min(times, default=math.inf))

    def _estimate(self, way: Link) -> int:
        return HEADER_BYTES + self._outbox.waiting_bytes(raw=way.carries_raw)

    def _ever_raw(self) -> bool:
        return self._way.carries_raw or math.isfinite(self._link.changes_at_s(max(0.0, self._now_s)))

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
                landed = [flight.waiting.pop(seq) for seq in named & flight.waiting.keys()]
                self._outbox.landed(landed)
                if landed and flight.stamp is not None and flight.stamp.offset_ms is not None:
                    self._told[flight.boot] = flight.stamp
            self._flights = [flight for flight in self._flights if flight.waiting]

    def _send_one(self, now_s: float, *, everything: bool) -> bool:
        if not self.transport.connected():
            return False
        way = self._way
        candidates, estimate = self._outbox.waiting(raw=way.carries_raw), self._estimate(way)
        if self._send_again(candidates, now_s):
            return True
        if not candidates or self._crowded(candidates[0].key.priority):
            return False
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        urgent = everything or now_s >= self._urgent_s(candidates, now_s)
        limit = way.max_payload_bytes()
        if not urgent and (self._held_for == self._spool.commits or estimate < _FULL * limit):
            return False
        if not self._allowed(min(estimate, HEADER_BYTES), now_s):
            return False  # not even the smallest frame may go: spare the packing
        frame, taken, stamp = self._pack(candidates, limit, now_s)
        if not taken:
            return self._give_up(candidates[0])
        if not urgent and taken == len(candidates) and len(frame) < _FULL * limit:
            self._held_for = self._spool.commits
            return False
        if not self._allowed(len(frame), now_s):
            return False
        self._launch(frame, candidates[:taken], stamp, now_s)
        return True

    def _send_again(self, candidates: Sequence[Spooled], now_s: float) -> bool:
        """Repeat a frame that is due, unless something more important waits; one that no longer fits is taken apart."""
        first = candidates[0].key.priority if candidates else Priority.RAW
        for flight in [flight for flight in self._flights if flight.due_s <= now_s]:
            if not flight.fits(self._way):
                self._flights.remove(flight)
                self._outbox.returned(flight.waiting.values())
                return True
            if flight.priority <= first and self._allowed(len(flight.frame), now_s):
                self._resend(flight, now_s)
                return True
        return False

    def _crowded(self, priority: Priority) -> bool:
        """Whether enough is on its way already. An alarm has room where nothing else has."""
        under_way = sum(flight.fits(self._way) for flight in self._flights)
        return under_way >= self._pace.in_flight * (2 if priority is Priority.ALARM else 1)

    def _give_up(self, spooled: Spooled) -> bool:
        """Bury a record that no frame can carry. A tombstone stays: burying it would need another, just as large."""
        if isinstance(spooled.record, Tombstone):
            return False
        try:
            self._spool.drop([spooled.key], LossReason.TOO_LARGE)
        except sqlite3.OperationalError:
            return False  # a full disk: later
        return True

    def _urgent_s(self, candidates: Sequence[Spooled], now_s: float) -> float:
        """When these will have waited long enough for company."""
        first = candidates[0].key.priority
        if first is Priority.ALARM:
            return -math.inf
        hurried = first is Priority.EVENT or self._in_contact  # which may be over soon
        since_s = now_s if self._waiting_since_s is None else self._waiting_since_s
        return since_s + (self._pace.event_wait_s if hurried else self._pace.metric_wait_s)

    def _company_s(self, candidates: Sequence[Spooled], way: Link, now_s: float) -> float:
        """Until when these wait for company; the past when they don't, or when `pump` has not looked at them yet."""
        full = self._estimate(way) >= _FULL * way.max_payload_bytes() and self._held_for != self._spool.commits
        return -math.inf if full or self._waiting_since_s is None else self._urgent_s(candidates, now_s)

    @property
    def _in_contact(self) -> bool:
        return self._way is not self._link

    def _pack(self, candidates: Sequence[Spooled], limit: int, now_s: float) -> tuple[bytes, int, Stamp | None]:
        """A frame, how many records it holds, and the stamp it bears."""
        boot = candidates[0].key.boot
        numbered = [Numbered(spooled.key.seq, spooled.record) for spooled in candidates]
        bundle = self.bundle if limit >= TIGHT_BYTES else ""
        created = self._spool.created(boot)
        for stamp in (self._news(boot, now_s), None):
            frame, taken = wire.pack(boot, bundle, numbered, limit, created=created, stamp=stamp, device=self._device)
            if taken:
                return frame, taken, stamp
        return b"", 0, None

    def _news(self, boot: int, now_s: float) -> Stamp:
        """The stamp of a frame, without an offset that the collector is known to know."""
        stamp, told = self._spool.stamp(boot, now_s), self._told.get(boot)
        if told is None or told.offset_ms is None or stamp.offset_ms is None or told.quality is not stamp.quality:
            return stamp
        return stamp if abs(stamp.offset_ms - told.offset_ms) >= _STEP_MS else replace(stamp, offset_ms=None)

    def _allowed(self, size: int, now_s: float) -> bool:
        if self._way.ready_at_s(size, now_s) > now_s:
            return False
        return self._in_contact or self._budget_frees_s(size, now_s) <= now_s

    def _budget_frees_s(self, size: int, now_s: float) -> float:
        """Earliest time at which the budgets of airtime and bytes have room for a frame of that size."""
        budget, traffic, frees_s = self._budget, self.traffic, now_s
        if budget is not None and budget.airtime_s_per_hour is not None:
            room_s = budget.airtime_s_per_hour - self._largest_airtime_s
            frees_s = max(frees_s, _frees_s(traffic.recent_airtime, room_s, 3600.0, now_s))
        if budget is not None and budget.link_bytes_per_day is not None:
            room = budget.link_bytes_per_day - size
            frees_s = max(frees_s, _frees_s(traffic.recent_bytes, room, 86400.0, now_s))
        return frees_s

    def _launch(self, frame: bytes, records: Sequence[Spooled], stamp: Stamp | None, now_s: float) -> None:
        urgent = any(spooled.key.priority < Priority.METRIC for spooled in records)
        channel = Channel.EVENTS if urgent else Channel.TELEMETRY
        self._outbox.launched(records)
        self._waiting_since_s = None
        waiting = {spooled.key.seq: spooled.key for spooled in records}
        flight = Flight(frame, channel, records[0].key.boot, waiting, stamp, now_s + self._pace.ack_timeout_s)
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
        sent = self._way.transmit(size, now_s)
        traffic.transmissions += 1
        traffic.bytes_sent += size
        traffic.contact_bytes += size if self._in_contact else 0
        traffic.airtime_s += sent.airtime_s
        traffic.energy_uj += sent.energy_uj
        self._largest_airtime_s = max(self._largest_airtime_s, sent.airtime_s)
        if self._budget is not None and not self._in_contact:  # what no limit asks for is never forgotten again
            if self._budget.airtime_s_per_hour is not None:
                traffic.recent_airtime.append((now_s, sent.airtime_s))
            if self._budget.link_bytes_per_day is not None:
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


def _frees_s(
    spent: deque[tuple[float, float]] | deque[tuple[float, int]], room: float, window_s: float, now_s: float
) -> float:
    """When no more than ``room`` will have been spent within the window before: ``now_s``, or infinite for never."""
    while spent and spent[0][0] <= now_s - window_s:
        spent.popleft()
    total = sum(amount for _, amount in spent)
    if total <= room:
        return now_s
    for when_s, amount in spent:
        total -= amount
        if total <= room:
            return when_s + window_s
    return math.inf
