"""Orders that came in and were not dealt with yet: few, each once, and one that came too early again in time.

An order stays at the head of the queue until whoever deals with it says so, since a full disk must not lose it. A
broker sends an order again at the next connection only, so one whose time has not come by this device's clock is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_MOST = 8  # as many as the inbox holds


class Heard:
    """The queue. Which order is believed is not its business."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque(maxlen=_MOST)
        self._last = b""
        self._early: tuple[int, bytes] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, envelopes: Iterable[bytes]) -> None:
        """These came in."""
        self._waiting.extend(envelopes)

    def head(self, clock_s: int) -> bytes | None:
        """The next order, None when there is none; the last one said again, or an empty one, is none."""
        if self._early is not None and clock_s >= self._early[0]:
            self._waiting.append(self._early[1])
            self._early, self._last = None, b""
        while self._waiting and self._waiting[0] in (b"", self._last):  # an empty one clears what the broker keeps
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None

    def done(self) -> None:
        """The head was dealt with."""
        self._last = self._waiting.popleft()

    def keep_until(self, when_s: int) -> None:
        """The head, which is to be dealt with again at that time of the clock; one at a time, the last."""
        self._early = when_s, self._waiting[0]

    def forget_early(self) -> None:
        """A later order was obeyed."""
        self._early = None
