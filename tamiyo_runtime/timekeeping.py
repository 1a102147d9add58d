"""What the wall clock of this machine is worth, and where it stands to the clock that the runtime works by.

The runtime's clock is monotonic and is never set. A board may have no battery for its wall clock and no network to set
it from, so every report says how far its wall clock can be believed: held by a network's time (the kernel's own word,
adjtimex(2)), set from a clock chip that still agrees with it, or neither. Nothing here sets a clock, and nothing in the
runtime depends on one: a wall clock that is set changes the offset that is told, and nothing else.

Sources: adjtimex(2), include/uapi/linux/timex.h, Documentation/ABI/testing/rtc-cdev and sysfs-class-rtc.
"""

from __future__ import annotations

import ctypes
import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tamiyo_runtime.contracts.stamp import TimeQuality
from tamiyo_runtime.meters import Clock, MonotonicClock
from tamiyo_runtime.meters.pseudo import folders, read_integer, read_text

STEP_MS = 100
"""The wall clock was set when it has moved by this much against the other: daemons slew what is less."""

_STA_UNSYNC = 0x40
_TIME_ERROR = 5
_BUFFER_BYTES = 512  # struct timex has 208 at most
_RTC_AGREES_S = 60
_PLAUSIBLE_S = 1_577_836_800  # 2020: a chip that lost its battery starts decades before


@dataclass(frozen=True, slots=True, kw_only=True)
class WallReading:
    """``offset_ms``: Unix time at the zero of the runtime's clock, in ms; None where there is no wall clock."""

    offset_ms: int | None = None
    quality: TimeQuality = TimeQuality.NONE

    @property
    def told_ms(self) -> int | None:
        """The offset, if it is worth telling."""
        return None if self.quality is TimeQuality.NONE else self.offset_ms


class Timekeeper(Protocol):
    """Where the wall clock stands."""

    machine: str
    """Names the machine's present run, from power-on on: within it the runtime's clock has one zero. Empty: unknown."""

    def read(self) -> WallReading:
        """As of now."""


class NoWallClock:
    """Of a simulated board, whose time has nothing to do with ours."""

    machine = ""

    def read(self) -> WallReading:
        """Nothing is known."""
        return WallReading()


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock. ``error_us``: the most that it may be off, 16 s when nobody cares for it."""

    synchronised: bool
    error_us: int


def parse_timex(state: int, raw: bytes, *, long_bytes: int) -> KernelClock:
    """The answer to adjtimex(2): what it returned and the ``struct timex`` it filled, on a machine of that word."""
    word = "q" if long_bytes == 8 else "i"
    pad = "4x" if long_bytes == 8 else ""
    # modes, offset, freq, maxerror, esterror, status
    _, _, _, error_us, _, status = struct.unpack_from(f"=I{pad}4{word}i", raw)
    return KernelClock(synchronised=state not in (-1, _TIME_ERROR) and not status & _STA_UNSYNC, error_us=error_us)


def ask_kernel() -> KernelClock | None:
    """Ask this machine's kernel, changing nothing; None where that is forbidden or there is no such call."""
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)  # modes 0: only tell
    try:
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else parse_timex(state, buffer.raw, long_bytes=ctypes.sizeof(ctypes.c_long))


class LinuxWallClock:
    """The wall clock of this machine. Its quality never falls back to none once a network has set it."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        kernel: Callable[[], KernelClock | None] = ask_kernel,
        wall_s: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        """``root`` stands for ``/``: what is read lies in ``sys/class/rtc`` and ``proc/sys/kernel/random``."""
        self._root, self._kernel, self._wall_s = root, kernel, wall_s
        self._clock = clock or MonotonicClock()
        self._was_set = False
        self.machine = read_text(root / "proc/sys/kernel/random/boot_id") or ""

    def read(self) -> WallReading:
        """Offset and quality now. Some 50 us: for every few seconds, not for every inference."""
        kernel = self._kernel()
        if kernel is not None and kernel.synchronised:
            self._was_set = True
            quality = TimeQuality.NTP
        else:
            quality = TimeQuality.RTC if self._was_set or self._chip_agrees() else TimeQuality.NONE
        return WallReading(offset_ms=self._offset_ms(), quality=quality)

    def _offset_ms(self) -> int:
        """Of three readings the one that was least interrupted."""
        tries = []
        for _ in range(3):
            before_s, wall_s, after_s = self._clock.now_s(), self._wall_s(), self._clock.now_s()
            tries.append((after_s - before_s, wall_s - (before_s + after_s) / 2))
        return round(min(tries)[1] * 1000)

    def _chip_agrees(self) -> bool:
        """Whether a battery-backed clock tells the same, sensible time."""
        now_s = self._wall_s()
        chips = (read_integer(folder / "since_epoch") for folder in folders(self._root / "sys/class/rtc", "rtc*"))
        return now_s > _PLAUSIBLE_S and any(chip is not None and abs(chip - now_s) <= _RTC_AGREES_S for chip in chips)


class FakeWallClock:
    """A wall clock to play with; ``history``: what it said, each time it was asked."""

    def __init__(
        self,
        *,
        offset_ms: int = 1_790_000_000_000,
        quality: TimeQuality = TimeQuality.NTP,
        machine: str = "run-1",
    ) -> None:
        self.offset_ms, self.quality, self.machine = offset_ms, quality, machine
        self.history: list[WallReading] = []

    def set_by(self, step_ms: int) -> None:
        """Somebody sets it: forward, or back."""
        self.offset_ms += step_ms

    def read(self) -> WallReading:
        """What it says now."""
        reading = WallReading(offset_ms=self.offset_ms, quality=self.quality)
        self.history.append(reading)
        return reading


class WallWatch:
    """Looks at a wall clock now and then, and notices when it has been set."""

    def __init__(self, keeper: Timekeeper, *, every_s: float = 10.0) -> None:
        self._keeper, self._every_s = keeper, every_s
        self._next_s = -math.inf
        self.reading = WallReading()

    def look(self, now_s: float) -> int:
        """Read it, if it is time to; returns by how many ms it was set since, 0 for not."""
        if now_s < self._next_s:
            return 0
        self._next_s = now_s + self._every_s
        before, self.reading = self.reading.offset_ms, self._keeper.read()
        if before is None or self.reading.offset_ms is None:
            return 0
        step_ms = self.reading.offset_ms - before
        return step_ms if abs(step_ms) >= STEP_MS else 0


def timekeeper(clock: Clock) -> Timekeeper:
    """The one that goes with a clock: this machine's with the machine's own, none with a simulated one."""
    return LinuxWallClock(clock=clock) if isinstance(clock, MonotonicClock) else NoWallClock()
