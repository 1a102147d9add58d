"""The only time that the runtime's core knows."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds."""

    def now_s(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def sleep_until(self, when_s: float) -> None:
        """Return at ``when_s`` or at once when that has passed."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    def sleep_until(self, when_s: float) -> None:
        """Sleep in real time."""
        delay = when_s - time.monotonic()
        if delay > 0:
            time.sleep(delay)


class VirtualClock:
    """A clock that only moves when told: time passes as fast as the work that fills it."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward; raises ValueError on a negative step."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        self._now_s += seconds

    def sleep_until(self, when_s: float) -> None:
        """Jump to ``when_s`` if that lies ahead."""
        self._now_s = max(self._now_s, when_s)
