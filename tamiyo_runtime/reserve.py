"""How much a spool may take of a disk that it shares: never the last of it.

A share of the disk is to stay free. With less than that free the spool does not grow: its bound is what it has in use,
and what its file has free inside. It is not made smaller, since a file of SQLite gives nothing back, and others would
take what it gave.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.meters import Clock

SHARE = 0.05
FLOOR_BYTES = 1 << 20
"""So much a spool may take on a disk that others keep full: telemetry goes through it."""
_LOOK_S = 10.0  # how often the disk is asked


@dataclass(frozen=True, slots=True)
class Space:
    """Of a file system, in bytes. ``free``: what we may take."""

    total: int
    free: int

    @classmethod
    def of(cls, path: Path) -> Space | None:
        """Of the one that ``path`` is on; None when it doesn't say."""
        try:
            stat = os.statvfs(path)
        except OSError:
            return None
        return cls(total=stat.f_blocks * stat.f_frsize, free=stat.f_bavail * stat.f_frsize)


def space_of(path: Path | None) -> Space | None:
    """As `Space.of`; None for a spool in memory, which has no disk."""
    return None if path is None else Space.of(path)


class Reserve:
    """``share``: of the disk, 0..1, that is to stay free. ``space`` asks how the disk is; now and then on ``clock``."""

    def __init__(self, share: float, clock: Clock, space: Callable[[], Space | None]) -> None:
        self._share = share
        self._clock = clock
        self._space = space
        self._look_s = -math.inf
        self._bound_bytes = 0

    def bound(self, limit_bytes: int, held_bytes: int, inside_bytes: Callable[[], int]) -> int:
        """The bound on bytes that holds now, at most ``limit_bytes``.

        ``held_bytes``: what the spool has in use of it. ``inside_bytes`` tells what its file has free inside.
        """
        now_s = self._clock.now_s()
        if now_s >= self._look_s:
            self._look_s = now_s + _LOOK_S
            self._bound_bytes = limit_bytes
            if (space := self._space()) is not None:
                beyond = max(0, space.free - int(self._share * space.total))
                self._bound_bytes = max(FLOOR_BYTES, held_bytes + inside_bytes() + beyond)
        return min(limit_bytes, self._bound_bytes)
