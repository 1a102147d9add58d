"""Airtime that rules leave: of a sub-band in any hour, and of join requests in the first hours."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.airtime import HOUR_S, CreditAccount
from simulators.lorawan.region import SubBand
from tamiyo_runtime.contracts.errors import InputError

_BURST_SHARE = 0.1
_MOST_BURST_SHARE = 0.9


def account(band: SubBand, longest_frame_s: float, *, slack_s: float = 0.0) -> CreditAccount:
    """Credits of one sender in a sub-band: no hour, wherever it begins, holds more than the limit.

    A tenth of the hour's allowance may go at once, or the longest frame if that is more. ``slack_s`` is how much later
    than booked a frame may go out. Raises InputError where the longest frame leaves nothing of the hour.
    """
    limit_s = band.limit_s_per_hour
    burst_s = max(_BURST_SHARE * limit_s, longest_frame_s)
    if burst_s > _MOST_BURST_SHARE * limit_s:
        raise InputError(
            f"a frame of {longest_frame_s:.3f} s does not fit the {limit_s:g} s an hour of band {band.name}",
            hint=f"frames up to {_MOST_BURST_SHARE * limit_s:g} s do: send less or at a faster data rate",
        )
    return CreditAccount(burst_s=burst_s, rate=(limit_s - burst_s) / (HOUR_S + slack_s))


@dataclass(slots=True)
class JoinBudget:
    """Airtime of join requests, LoRaWAN 1.0.3 section 7 (from memory): 36 s in the first hour, 36 s in the next ten,
    then 8.7 s in each 24 hours, counted from the first request."""

    first_s: float | None = None
    _period: int = 0
    _used_s: float = 0.0

    def ready_at_s(self, airtime_s: float, now_s: float) -> float:
        """Earliest time for a request of that length, which must not exceed a period's allowance."""
        period, used_s = self._at(now_s)
        if used_s + airtime_s <= self._limit_s(period):
            return now_s
        first_s = now_s if self.first_s is None else self.first_s
        return first_s + self._begins_s(period + 1)

    def spend(self, airtime_s: float, now_s: float) -> None:
        """Books a request."""
        if self.first_s is None:
            self.first_s = now_s
        self._period, used_s = self._at(now_s)
        self._used_s = used_s + airtime_s

    def _at(self, now_s: float) -> tuple[int, float]:
        elapsed_s = 0.0 if self.first_s is None else now_s - self.first_s
        period = self._period
        while elapsed_s >= self._begins_s(period + 1):
            period += 1
        return period, self._used_s if period == self._period else 0.0

    @staticmethod
    def _begins_s(period: int) -> float:
        return (0.0, HOUR_S, 11 * HOUR_S)[period] if period <= 2 else 11 * HOUR_S + (period - 2) * 24 * HOUR_S

    @staticmethod
    def _limit_s(period: int) -> float:
        return 36.0 if period < 2 else 8.7
