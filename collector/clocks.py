"""When a record was made: from a device's own clock, which starts anywhere, to the wall clock. Pure.

A boot's clock is never set, so one offset places all its records. Each frame says how that clock stood when it was sent
(see `Stamp`), and may tell the offset as the device has it. A frame is never received before it was sent, so the least
``received - sent`` of all frames is the true offset plus the shortest delay there was: late, and it only gets better.
What a device tells is checked against it: an offset that would have frames arrive before they were sent is wrong. Of
those that pass, the highest is kept: a wall clock that was set back tells a lower one. Least and highest do not depend
on the order of frames, nor on repeats, unless an offset passes and is refuted by a later frame: what it displaced is
not known any more, and the least serves.

The collector's own clock may be set, too: see `SteadyClock`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality

TOLERANCE_MS = 2000
"""How far a device's and the collector's clock may differ while both are right."""
NTP_ERROR_MS = 100
"""What a clock held by a network's time is taken to be off by."""
_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_SLEW_S = 1.0  # smaller changes of the wall clock are followed; larger ones are jumps
_SETTLE_S = 600.0  # a jump that lasts so long is where the wall clock belongs


class TimeSource(StrEnum):
    """What the time of a record rests on, best first."""

    NTP = "ntp"  # the device's own clock, held by a network's time
    RECEIVED = "received"  # the least of received - sent: late by the shortest delay there was on its way
    RTC = "rtc"  # the device's own clock, unattended; nothing to check it against
    ARRIVAL = "arrival"  # nothing is known: made at some time before it arrived


@dataclass(frozen=True, slots=True)
class Fix:
    """Unix time in ms at the zero of a boot's clock. ``error_ms``: bound on what it is off by, None when not known."""

    offset_ms: int
    source: TimeSource
    error_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sightings:
    """What is known of a boot's clock; see the module's description. ``epoch`` of the `SteadyClock` of ``least_ms``."""

    least_ms: int | None = None
    ntp_ms: int | None = None
    rtc_ms: int | None = None
    epoch: int = 0

    def with_frame(self, stamp: Stamp, received_ms: int, epoch: int | None) -> Sightings:
        """The same after one more frame; ``epoch`` None when ``received_ms`` cannot be trusted."""
        found = self
        if stamp.sent_ms is not None and epoch is not None:
            least_ms = received_ms - stamp.sent_ms
            if self.least_ms is None or least_ms < self.least_ms:
                found = replace(found, least_ms=least_ms, epoch=epoch)
        if stamp.offset_ms is None:
            return found
        if stamp.quality is TimeQuality.NTP:
            return replace(found, ntp_ms=found.better(found.ntp_ms, stamp.offset_ms))
        return replace(found, rtc_ms=found.better(found.rtc_ms, stamp.offset_ms))

    def refutes(self, offset_ms: int) -> bool:
        """Whether frames would have arrived before they were sent."""
        return self.least_ms is not None and offset_ms > self.least_ms + TOLERANCE_MS

    def better(self, known_ms: int | None, told_ms: int) -> int:
        """The offset to keep of two that a device told. One that is wrong may be all there is, and is never used."""
        both = [told_ms] if known_ms is None else [known_ms, told_ms]
        return max((one for one in both if not self.refutes(one)), default=min(both))

    def fix(self) -> Fix | None:
        """The best that can be made of it; None when that is nothing."""
        if self.ntp_ms is not None and not self.refutes(self.ntp_ms):
            return Fix(self.ntp_ms, TimeSource.NTP, NTP_ERROR_MS)
        if self.least_ms is not None:
            return Fix(self.least_ms, TimeSource.RECEIVED)
        return None if self.rtc_ms is None else Fix(self.rtc_ms, TimeSource.RTC)


def since_boot_s() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine sleeps, where there is one."""
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)


class SteadyClock:
    """The wall clock without its jumps, for a collector whose wall clock may be set while it runs.

    It goes on from where it started, whatever the wall clock does; where a jump lasts for ``settle_s``, the wall clock
    was set for good, and `step_ms` says once by how much, so that what was measured so far can be moved along. A clock
    that starts before ``floor_s``, when something was last received, is wrong: until it has passed that moment, its
    times are no measurement (`trusted`).
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = since_boot_s,
        *,
        floor_s: float = 0.0,
        settle_s: float = _SETTLE_S,
    ) -> None:
        self._wall, self._elapsed = wall, elapsed
        self._floor_s, self._settle_s = floor_s, settle_s
        self._anchor_s = wall() - elapsed()
        self._jumped_s: tuple[float, float] | None = None  # the other anchor, and since when
        self.epoch = int(wall() * 1000)

    def elapsed_s(self) -> float:
        """A moment, for `unix_s`. Cheap."""
        return self._elapsed()

    def unix_s(self, elapsed_s: float) -> float:
        """Unix time at that moment."""
        return self._anchor_s + elapsed_s

    def trusted(self, elapsed_s: float) -> bool:
        """Whether that moment's time is a measurement."""
        return self.unix_s(elapsed_s) >= self._floor_s

    def step_ms(self) -> int:
        """Look at the wall clock; how far this clock has just been set, as a rule 0. To be called now and then."""
        now_s = self._elapsed()
        anchor_s = self._wall() - now_s
        jump_s = anchor_s - self._anchor_s
        if abs(jump_s) <= _SLEW_S:
            self._anchor_s, self._jumped_s = anchor_s, None
            return 0
        if self._jumped_s is None or abs(anchor_s - self._jumped_s[0]) > _SLEW_S:
            self._jumped_s = anchor_s, now_s
        if now_s - self._jumped_s[1] < self._settle_s:
            return 0
        self._anchor_s, self._jumped_s = anchor_s, None
        return round(jump_s * 1000)
