"""Between the thread that takes in samples and the loop: a queue with an end, and the count of what did not fit.

What happens when the loop is slower than its input is the stream's ``drop`` option: ``oldest`` makes room for the
newest sample, which is what a controller wants; ``newest`` keeps the order of a recording; ``wait`` holds the sender
back and loses nothing, where the sender can be held back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from enum import StrEnum

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.sources.base import Array, Intake, Loss, Sample

SIZE = 64
FIRST_BAD = 10
"""When so many lines have come and none was usable, the stream is the wrong one."""
_SHOWN_CHARACTERS = 60


class Drop(StrEnum):
    """What is lost when the queue is full."""

    OLDEST = "oldest"
    NEWEST = "newest"
    WAIT = "wait"


class FlawError(Exception):
    """Something that arrived and is no sample: why, and how that shows."""

    def __init__(self, loss: Loss, detail: str) -> None:
        super().__init__(detail)
        self.loss = loss
        self.detail = detail


class Inbox:
    """See the module's description. `put`, `refuse` and `finish` are for the thread that takes in."""

    def __init__(self, label: str, *, size: int = SIZE, drop: Drop = Drop.OLDEST) -> None:
        self.label = label
        self._size, self._drop = size, drop
        self._queue: deque[Sample] = deque()
        self._changed = threading.Condition()
        self._received = self._bad = 0
        self._lost: Counter[Loss] = Counter()
        self._first_flaw = ""
        self._finished = self._closed = False
        self._state = "not started"

    def put(self, value: Array) -> None:
        """Queue a sample; with `Drop.WAIT` this waits for room."""
        with self._changed:
            self._received += 1
            while self._drop is Drop.WAIT and len(self._queue) >= self._size and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            if len(self._queue) >= self._size:
                self._lost[Loss.QUEUE_FULL] += 1
                if self._drop is Drop.NEWEST:
                    return
                self._queue.popleft()
            self._queue.append(Sample(value, None, time.monotonic()))
            self._changed.notify_all()

    def refuse(self, flaw: FlawError, raw: bytes = b"") -> None:
        """Count something that is no sample. Too much of a good thing (`Loss.TOO_FAST`) is no sign of a bad stream."""
        with self._changed:
            self._lost[flaw.loss] += 1
            if flaw.loss is not Loss.TOO_FAST:
                self._bad += 1
                self._first_flaw = self._first_flaw or f"{flaw.detail}{_shown(raw)}"
            self._changed.notify_all()

    def finish(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def tell(self, state: str) -> None:
        """State of the connection, in a few words."""
        self._state = state

    def take(self, timeout_s: float) -> Sample | None:
        """The next sample, or None when there was none in time; see `Stream.take`."""
        with self._changed:
            if not self._queue and not self._finished:
                self._changed.wait(timeout_s)
            if self._queue:
                sample = self._queue.popleft()
                self._changed.notify_all()
                return sample
            if not self._received:
                self._check_hope()
            return None

    def ended(self) -> bool:
        """Whether everything has been taken and nothing will come."""
        return self._finished and not self._queue

    def intake(self) -> Intake:
        """Counts so far."""
        with self._changed:
            return Intake(received=self._received, lost=dict(self._lost), state=self._state)

    def close(self) -> None:
        """Let go of whoever waits."""
        with self._changed:
            self._closed = self._finished = True
            self._queue.clear()
            self._changed.notify_all()

    def _check_hope(self) -> None:
        if self._bad >= FIRST_BAD or (self._finished and self._bad and not self._closed):
            raise InputError(
                f"{self.label}: none of the first {self._bad} lines is a sample: {self._first_flaw}",
                hint="a line is one sample: its numbers, separated by commas or blanks, or a JSON array",
            )
        if self._finished and not self._closed:
            raise InputError(f"{self.label} ended without a sample", hint="does its sender run?")


def _shown(raw: bytes) -> str:
    """A line for a message: no control characters, no more than a glance."""
    if not raw:
        return ""
    text = raw[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
    return f": {text[:_SHOWN_CHARACTERS]!r}{'...' if len(text) > _SHOWN_CHARACTERS else ''}"
