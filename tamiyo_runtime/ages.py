"""How old a record in a spool is, as far as that can be known.

Times are on the runtime's clock, which has one zero as long as a machine stays on and another after that. Within one
run of the machine an age is exact. Between runs it is so where a network held the wall clock in both, and otherwise a
lower bound: the time that boots are known to have lasted, with nothing for the pauses between them. A clock chip is not
believed here: one that is wrong by a year would empty the spool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamiyo_runtime.contracts.records import Priority
from tamiyo_runtime.contracts.stamp import TimeQuality

DAYS = 30
"""How long events and windows are kept unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootTimes:
    """Of one boot: its beginning and its last commit on its clock, and where that clock stood.

    ``machine``: the machine's run, empty when unknown. ``offset_ms``: Unix time at the clock's zero, None without one.
    """

    boot: int
    since_ms: int
    until_ms: int
    machine: str = ""
    offset_ms: int | None = None
    quality: TimeQuality = TimeQuality.NONE

    @property
    def told_ms(self) -> int | None:
        """The offset, where a network held the wall clock."""
        return self.offset_ms if self.quality is TimeQuality.NTP else None


def bounds_s(days: float) -> Mapping[Priority, float]:
    """How old records may get, by class: alarms thrice as old as events and windows, single samples a quarter."""
    day_s = 86400.0
    return {
        Priority.ALARM: 3 * days * day_s,
        Priority.EVENT: days * day_s,
        Priority.METRIC: days * day_s,
        Priority.RAW: days * day_s / 4,
    }


def zeros_ms(boots: Sequence[BootTimes], now: BootTimes) -> dict[int, int]:
    """Of each boot: where the zero of its clock lies on the clock of ``now``, no earlier than it can be.

    ``boots``: in their order, ending with the present one. ``now``: the present one, ``until_ms`` being the time.
    A record of a boot then has an age of at least ``now.until_ms - (zero + t_ms)``.
    """
    zeros: dict[int, int] = {}
    later_ms = now.since_ms  # on the present clock: no later than this the boot at hand had ended
    for boot in reversed(boots):
        if boot.boot == now.boot:
            zeros[boot.boot] = 0
            continue
        zero_ms = later_ms - boot.until_ms
        if boot.machine and boot.machine == now.machine:
            zero_ms = 0
        elif (
            boot.offset_ms is not None and now.offset_ms is not None and boot.quality is now.quality is TimeQuality.NTP
        ):
            zero_ms = min(zero_ms, boot.offset_ms - now.offset_ms)
        zeros[boot.boot] = zero_ms
        later_ms = zero_ms + boot.since_ms
    return zeros
