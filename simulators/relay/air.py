"""A medium in real time: one link that all connections share, first come first served, a piece at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from simulators.relay.medium import Decision, Direction, Medium, Outage

_AHEAD_S = 0.005  # real time: pieces of a fast link are decided so early that a timer's lateness costs no rate
_LOOK_S = 0.05


class Air:
    """``speed``: seconds of the link to a real one. ``tell`` hears of every decision, and of outages as they begin.

    Belongs to a running event loop; the link's clock is 0 when it is made.
    """

    def __init__(self, medium: Medium, speed: float, tell: Callable[[Decision | Outage], None]) -> None:
        self._medium, self._speed, self._tell = medium, speed, tell
        self._loop = asyncio.get_running_loop()
        self._zero_s = self._loop.time()
        self._turn = asyncio.Lock()
        self._last_s = -math.inf
        self.last: Decision | None = None
        self.outage: Outage | None = None

    def now_s(self) -> float:
        """The link's clock."""
        return (self._loop.time() - self._zero_s) * self._speed

    def wall_s(self, link_s: float) -> float:
        """The loop's clock at a time of the link's."""
        return self._zero_s + link_s / self._speed

    async def carry(self, direction: Direction, waiting_bytes: int) -> Decision:
        """Have the next piece decided, when it is this connection's turn."""
        async with self._turn:
            if self.last is not None:
                await asyncio.sleep(self.wall_s(self.last.start_s) - self._loop.time() - _AHEAD_S)
            self._last_s = max(self.now_s(), math.nextafter(self._last_s, math.inf), 0.0)
            self.last = self._medium.decide(self._last_s, direction, waiting_bytes)
        self._tell(self.last)
        return self.last

    async def watch(self, cut_after_s: float, cut: Callable[[], object]) -> None:
        """Keep `outage` up to date; call ``cut`` for each that lasts longer than that, once it has."""
        seen_s, due_s = 0.0, math.inf
        while True:
            now_s = self.now_s()
            for outage in self._medium.outages(seen_s, now_s):
                self.outage = outage
                self._tell(outage)
                if outage.ends_s - outage.begins_s > cut_after_s:
                    due_s = min(due_s, outage.begins_s + cut_after_s)
            if now_s >= due_s:
                due_s = math.inf
                cut()
            if self.outage is not None and now_s >= self.outage.ends_s:
                self.outage = None
            seen_s = now_s
            await asyncio.sleep(_LOOK_S)
