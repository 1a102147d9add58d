"""What becomes of the bytes of a stream on a simulated link: decisions, without a clock, a socket or a thread.

An *offer* says how many bytes wait in which direction, and when; a *decision* takes as many as one payload of the link
holds, and says when they start, when they arrive and in how many tries. One link and one seed give one sequence of
decisions for one sequence of offers, live or computed: `tests` hold a live relay to that.

Both directions share the link, as if it were half-duplex, because a `tamiyo_runtime.link.Link` is one radio with one
state: what goes down finds the radio that what went up has woken, and waits until it is free. So a cellular network is
slower here under load in both directions at once than it is, and what a LoRa gateway would send is charged to the
device's duty cycle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from simulators.links.cellular import CellularLink
from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.link import Link

TRIES = 16
"""Of one piece; then its connection is reset, as Linux gives up TCP after 15 repeats (``tcp_retries2``)."""


class Direction(StrEnum):
    """Towards the server, or towards the client."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was offered, and what becomes of it; all times in s of the link's own clock.

    ``waiting_bytes`` were there at ``at_s``; ``size_bytes`` of them, of at most ``payload_bytes``, start at ``start_s``
    for the first time and arrive at ``arrives_s`` with try number ``tries``, unless that is lost as well. The next
    piece of that size could start at ``free_s``. Raises SchemaError for what cannot be.
    """

    at_s: float
    direction: Direction
    waiting_bytes: int
    payload_bytes: int
    size_bytes: int
    start_s: float
    arrives_s: float
    free_s: float
    tries: int = 1
    lost: bool = False

    def __post_init__(self) -> None:
        require_finite(at_s=self.at_s, start_s=self.start_s, arrives_s=self.arrives_s, free_s=self.free_s)
        require(0 <= self.at_s <= self.start_s, "start_s", f"{self.start_s} s is before {self.at_s} s, or before 0")
        require(self.arrives_s >= self.start_s, "arrives_s", f"{self.arrives_s} s is before {self.start_s} s")
        require(self.free_s >= self.start_s, "free_s", f"{self.free_s} s is before {self.start_s} s")
        fits = 0 < self.size_bytes <= min(self.waiting_bytes, self.payload_bytes)
        require(fits, "size_bytes", f"{self.size_bytes} of {self.waiting_bytes}, at most {self.payload_bytes}")
        require(1 <= self.tries <= TRIES, "tries", f"must be 1..{TRIES}, got {self.tries}")

    @property
    def delay_s(self) -> float:
        """From being offered to arriving."""
        return self.arrives_s - self.at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A stretch without coverage: nothing starts in it. Raises SchemaError for one without a length."""

    begins_s: float
    ends_s: float

    def __post_init__(self) -> None:
        require_finite(begins_s=self.begins_s, ends_s=self.ends_s)
        require(0 <= self.begins_s < self.ends_s, "ends_s", f"{self.ends_s} s is not after {self.begins_s} s")


class Medium(Protocol):
    """What decides. Offers come in the order of their times."""

    label: str

    def decide(self, at_s: float, direction: Direction, waiting_bytes: int) -> Decision:
        """Take some of the bytes; raises ValueError for an offer that is not later than the one before, or empty."""

    def outages(self, since_s: float, until_s: float) -> Iterator[Outage]:
        """Those that begin in ``since_s <= t < until_s``."""


class LinkMedium:
    """A link as a medium. The link begins at 0 and must be nobody else's."""

    def __init__(self, link: Link) -> None:
        self.label = link.label
        self._link = link
        self._last_s = -math.inf
        self._arrived_s = dict.fromkeys(Direction, 0.0)
        if isinstance(link, CellularLink):
            link.covered_at_s(0.0)  # the channel's first step is that of time 0, whenever the first offer comes

    def decide(self, at_s: float, direction: Direction, waiting_bytes: int) -> Decision:
        """See `Medium`."""
        self._last_s = checked(at_s, self._last_s, waiting_bytes)
        start_s, way, size = self._turn(at_s, waiting_bytes)
        sent_s, tries = start_s, 1
        sent = way.transmit(size, sent_s)
        while not sent.delivered and tries < TRIES:
            sent_s, way, size = self._turn(sent_s + sent.latency_s, size)
            sent, tries = way.transmit(size, sent_s), tries + 1
        arrives_s = max(sent_s + sent.latency_s, self._arrived_s[direction])  # a stream keeps its order
        self._arrived_s[direction] = arrives_s
        return Decision(
            at_s=at_s,
            direction=direction,
            waiting_bytes=waiting_bytes,
            payload_bytes=way.max_payload_bytes(),
            size_bytes=size,
            start_s=start_s,
            arrives_s=arrives_s,
            free_s=way.ready_at_s(size, sent_s),
            tries=tries,
            lost=not sent.delivered,
        )

    def outages(self, since_s: float, until_s: float) -> Iterator[Outage]:
        """Of cellular networks; a duty cycle makes bytes wait, but that is the link working as it should."""
        if isinstance(self._link, CellularLink):
            for begins_s, ends_s in self._link.outages(since_s, until_s):
                yield Outage(begins_s=begins_s, ends_s=ends_s)

    def _turn(self, now_s: float, waiting_bytes: int) -> tuple[float, Link, int]:
        """When the next piece may start, over what, and how large it is: a contact that comes by first takes it."""
        while True:
            way = self._link.way(now_s)
            size = min(waiting_bytes, way.max_payload_bytes())
            ready_s = way.ready_at_s(size, now_s)
            changes_s = self._link.changes_at_s(now_s)
            if ready_s < changes_s:
                return ready_s, way, size
            now_s = max(changes_s, math.nextafter(now_s, math.inf))


def checked(at_s: float, last_s: float, waiting_bytes: int) -> float:
    """``at_s``, if something can be offered then; raises ValueError."""
    if not (0 <= at_s < math.inf and last_s < at_s and waiting_bytes > 0):
        raise ValueError(f"{waiting_bytes} bytes at {at_s} s cannot be offered after {last_s} s")
    return at_s
