"""A virtual clock that sleeps on while nothing would happen: most of what a simulated day costs is looking in vain."""

from __future__ import annotations

import math
from collections.abc import Callable

from tamiyo_runtime.meters import VirtualClock


class DozingClock(VirtualClock):
    """Who sleeps on it wakes at the earliest time that one of ``wakers`` names, or later if asked for later.

    A loop that looks round four times a second then does so when there is something to see, and at most one look late.
    Without wakers it is a `VirtualClock`.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        super().__init__(start_s)
        self.wakers: list[Callable[[float], float]] = []

    def sleep_until(self, when_s: float) -> None:
        """Jump to ``when_s``, or beyond, to what comes first after it."""
        now_s = self.now_s()
        wake_s = min((waker(now_s) for waker in self.wakers), default=now_s)
        super().sleep_until(max(when_s, wake_s) if math.isfinite(wake_s) else when_s)
