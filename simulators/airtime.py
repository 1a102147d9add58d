"""Duty cycle: an account of time-on-air credit, and a ledger of what was used.

LoRaMac-node keeps a credit a sub-band: it holds at most the hour's allowance, is refilled evenly over an hour, and a
frame may go out when the credit covers it. An account that holds ``burst_s`` and gains ``rate`` seconds a second never
lets more through than

    burst_s + rate * W      seconds on the air in any window of W seconds, wherever the window begins,

so LoRaMac-node's own (``burst_s`` = 36 s, ``rate`` = 1 %) allows 72 s in the worst hour of a 1 % sub-band. `strict`
splits the allowance between the two, which keeps *every* hour within the limit; `loramac_node` is there to compare.
"""

from __future__ import annotations

import bisect

HOUR_S = 3600.0
_ROUNDING_S = 1e-8
"""Slack for floating-point rounding when credit is compared with the time on air it has to cover. What is overdrawn by
it stays on the account, so it never adds up."""


class CreditAccount:
    """Credit in seconds of time on air; full at the start. Times never go back."""

    def __init__(self, *, burst_s: float, rate: float) -> None:
        if not (burst_s > 0 and 0 < rate <= 1):
            raise ValueError(f"burst_s {burst_s} must be above 0 and rate {rate} in (0, 1]")
        self.burst_s = burst_s
        self.rate = rate
        self._credit_s = burst_s
        self._as_of_s: float | None = None

    @classmethod
    def strict(cls, limit_s_per_hour: float, *, burst_share: float = 0.1) -> CreditAccount:
        """Every hour stays within the limit: ``burst_share`` of it at once, the rest evenly."""
        burst_s = limit_s_per_hour * burst_share
        return cls(burst_s=burst_s, rate=(limit_s_per_hour - burst_s) / HOUR_S)

    @classmethod
    def loramac_node(cls, limit_s_per_hour: float) -> CreditAccount:
        """As LoRaMac-node does it: up to twice the limit in the worst hour."""
        return cls(burst_s=limit_s_per_hour, rate=limit_s_per_hour / HOUR_S)

    def credit_s(self, now_s: float) -> float:
        """Credit at ``now_s``; before the last use it is what was left then."""
        if self._as_of_s is None:
            return self._credit_s
        return min(self.burst_s, self._credit_s + self.rate * max(0.0, now_s - self._as_of_s))

    def ready_at_s(self, airtime_s: float, now_s: float) -> float:
        """Earliest time from ``now_s`` at which the credit covers a frame; raises ValueError when it never will."""
        if airtime_s > self.burst_s + _ROUNDING_S:
            raise ValueError(f"{airtime_s} s on the air exceed the {self.burst_s} s that the account can hold")
        missing_s = airtime_s - self.credit_s(now_s)
        if missing_s <= _ROUNDING_S:
            return now_s
        refills_from_s = now_s if self._as_of_s is None else max(now_s, self._as_of_s)
        return refills_from_s + missing_s / self.rate

    def spend(self, airtime_s: float, now_s: float) -> None:
        """Book a frame that begins at ``now_s``; raises ValueError when the credit does not cover it."""
        credit_s = self.credit_s(now_s)
        if airtime_s > credit_s + _ROUNDING_S:
            raise ValueError(f"{airtime_s} s on the air exceed the credit of {credit_s} s")
        self._credit_s = credit_s - airtime_s
        self._as_of_s = now_s


class AirtimeLedger:
    """Every transmission, in order and without overlap, for reports and for checking the account."""

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._lengths: list[float] = []
        self._totals: list[float] = [0.0]

    def add(self, start_s: float, airtime_s: float) -> None:
        """Book a transmission; raises ValueError when it begins before the last one ended."""
        if self._starts and start_s < self._starts[-1] + self._lengths[-1]:
            raise ValueError(f"the transmission at {start_s} s begins before the last one ended")
        self._starts.append(start_s)
        self._lengths.append(airtime_s)
        self._totals.append(self._totals[-1] + airtime_s)

    def used_s(self, since_s: float, until_s: float) -> float:
        """Seconds on the air within the window; frames that reach over its edges count in part."""
        return max(0.0, self._until(until_s) - self._until(since_s))

    def peak_s(self, window_s: float = HOUR_S) -> float:
        """The most there was in any window of that length. Use only changes slope where a frame begins or ends, so
        the worst window begins where one begins, or ends where one ends."""
        ends = [start + length for start, length in zip(self._starts, self._lengths, strict=True)]
        windows = [(start, start + window_s) for start in self._starts] + [(end - window_s, end) for end in ends]
        return max((self.used_s(since, until) for since, until in windows), default=0.0)

    def _until(self, when_s: float) -> float:
        index = bisect.bisect_right(self._starts, when_s)
        if index == 0:
            return 0.0
        return self._totals[index - 1] + min(self._lengths[index - 1], when_s - self._starts[index - 1])
