"""Between the loop that runs samples and the thread that looks after updates: neither ever waits for the other.

The loop asks `Exchange.poll` between two samples and gets a change that is ready, or nothing; it leaves behind how the
run is doing. The other thread hands changes over and reads the figures. What the two share is replaced whole under a
lock that is held for an assignment, and events are told on the loop's thread, to which telemetry belongs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.plan import Runnable
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.control import Change
from tamiyo_runtime.summary import Turn
from tamiyo_runtime.update.health import Figures
from tamiyo_runtime.update.messages import cut_text

_MOST_EVENTS = 32
_DETAIL_CHARACTERS = 64  # as in every other event: they cross slow links

Tell = Callable[[Event, int, str], None]
"""Records an event: kind, value, detail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a session runs: the file, and what was ordered beside it. ``budget`` None stands for the bundle's own."""

    sha256: str
    budget: Budget | None
    use_policy: bool


@dataclass(frozen=True, slots=True)
class Objection:
    """A change that could not be made, and why."""

    refused: Applied
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a session runs, with what the bundle says of itself."""

    applied: Applied
    own_budget: Budget
    runnables: Sequence[Runnable]


class Exchange:
    """The port `Control` for the loop; all but `poll` and `refused` is for the other thread."""

    def __init__(self, running: Running, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._running = self._before = running
        self._waiting: tuple[Running, Change] | None = None
        self._settled = True
        self._figures: tuple[str, Figures] | None = None
        self._objection: Objection | None = None
        self._events: deque[tuple[Event, int, str]] = deque(maxlen=_MOST_EVENTS)

    def poll(self, turn: Turn) -> Change | None:
        """See `Control`."""
        self.drain()
        sha256 = self._running.applied.sha256
        self._figures = sha256, Figures.of_turn(turn, self._running.runnables)
        with self._lock:
            waiting, self._waiting = self._waiting, None
            self._settled = waiting is None
            if waiting is None:
                return None
            self._before = self._running
            self._running, change = waiting
        if change.loaded is not None:
            self._figures = None  # they were of what ran before
        return change

    def refused(self, change: Change, problem: str) -> None:
        """See `Control`."""
        with self._lock:
            self._objection = Objection(self._running.applied, problem)
            self._running = self._before

    @property
    def running(self) -> Running:
        """What the loop was last given, whether or not it has objected yet."""
        return self._running

    @property
    def busy(self) -> bool:
        """Whether a change waits for the loop."""
        return self._waiting is not None

    def holds(self, applied: Applied) -> bool:
        """Whether the loop has taken that on, and had a whole turn to object."""
        with self._lock:
            return self._settled and self._waiting is None and self._running.applied == applied

    def hand(self, running: Running, change: Change) -> None:
        """Have a change made at the loop's next turn. Not to be called while another one waits."""
        with self._lock:
            self._waiting = running, change

    def objection(self) -> Objection | None:
        """A change that was refused since the last call."""
        with self._lock:
            found, self._objection = self._objection, None
        return found

    def figures(self, sha256: str) -> Figures | None:
        """How that file is doing; None before the loop has said."""
        found = self._figures
        return found[1] if found is not None and found[0] == sha256 else None

    def say(self, event: Event, value: int, detail: str) -> None:
        """Have an event recorded at the loop's next turn."""
        self._events.append((event, value, cut_text(detail, _DETAIL_CHARACTERS)))

    def drain(self) -> None:
        """Record what is left, on the loop's thread, when there are no more turns."""
        while self._events:
            self._tell(*self._events.popleft())
