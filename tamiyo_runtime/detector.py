"""Whether events have become more frequent than they may be, or rarer again: with a bound on false alarms.

The detector is the Shiryaev-Roberts e-detector (J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric
framework for sequential change detection", New England Journal of Statistics in Data Science 2, 2024):

    M(t) = e(t) x (1 + M(t-1)),   e(t) = how much likelier what happened is at another rate than at the stated one

While the rate of events, given all that went before, is at most the stated one, the mean of e(t) is at most 1. Then
M(t) - t cannot grow in the mean: the first time at which M reaches N is on average N or more steps away, and it lies
within the first n steps with a probability of at most n / N. Nothing else is assumed: events need not be independent,
and the rate may change as long as it stays at or below the stated one. A mean of several detectors, one an alternative
rate, is one as well.

Constant time and memory; no clock, no random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tamiyo_runtime.contracts.document import require


def rate_bound(rank: int, samples: int, *, doubt: float) -> float:
    """Upper bound of the rate of samples strictly beyond a limit that ``rank`` of ``samples`` lie on or beyond.

    It is wrong with a probability of at most ``doubt``, over the draw of the samples, whatever their distribution:
    the one-sided bound of Clopper and Pearson (Biometrika 26, 1934) for rank - 1 events. Because the rank is what is
    fixed, it also holds for a limit that was chosen on these very samples (S. S. Wilks, Annals of Mathematical
    Statistics 12, 1941), and for several limits set one after the other, each on what the ones before left inside,
    with the sum of their ranks (J. W. Tukey, Annals of Mathematical Statistics 18, 1947).
    """
    require(0 < rank < samples, "rank", f"must be in [1, {samples} samples), got {rank}")
    require(0 < doubt < 0.5, "doubt", f"must be in (0, .5), got {doubt}")
    low, high = (rank - 1) / samples, 1.0  # at that rate, rank - 1 events are the median
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _at_most(rank - 1, samples, middle) > doubt else (low, middle)
    return high


def _at_most(events: int, samples: int, rate: float) -> float:
    """Probability of so many events or fewer, the terms added from the largest down until they no longer count."""
    ways = math.lgamma(samples + 1) - math.lgamma(events + 1) - math.lgamma(samples - events + 1)
    term = math.exp(ways + events * math.log(rate) + (samples - events) * math.log1p(-rate))
    total = 0.0
    for count in range(events, -1, -1):
        total += term
        if term <= total * 1e-17:
            break
        term *= count / (samples - count + 1) * (1 - rate) / rate
    return total


def at_odds(rate: float, factor: float) -> float:
    """The rate whose odds are ``factor`` times those of ``rate``."""
    odds = factor * rate / (1 - rate)
    return odds / (1 + odds)


class Detector:
    """Tells when events do not come at ``rate`` any more but nearer to one of ``alternatives``.

    The alternatives are either all above the rate or all below it. While the rate of events, given all that went
    before, is not beyond ``rate`` on the other side, the mean number of steps to an alarm is ``mean_steps`` or more.
    """

    __slots__ = ("_after_event", "_after_none", "_level", "_values", "alternatives", "mean_steps", "rate")

    def __init__(self, rate: float, alternatives: Sequence[float], *, mean_steps: float) -> None:
        """Raises SchemaError unless rates are in (0, 1) and lie as they should."""
        require(all(0 < value < 1 for value in (rate, *alternatives)), "rate", "rates must be in (0, 1)")
        one_side = min(alternatives) > rate or max(alternatives) < rate
        require(one_side, "alternatives", f"{tuple(alternatives)} are not all on one side of {rate}")
        require(mean_steps >= 1, "mean_steps", f"must be 1 or more, got {mean_steps}")
        self.rate, self.alternatives, self.mean_steps = rate, tuple(alternatives), mean_steps
        self._after_event = tuple(other / rate for other in alternatives)
        self._after_none = tuple((1 - other) / (1 - rate) for other in alternatives)
        self._level = mean_steps * len(self.alternatives)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._values = [0.0] * len(self.alternatives)

    @property
    def value(self) -> float:
        """M now: an alarm is due at ``mean_steps``."""
        return sum(self._values) / len(self._values)

    def observe(self, event: bool) -> bool:
        """Take in one step; whether that is an alarm. After one, `reset`."""
        values, total = self._values, 0.0
        for index, factor in enumerate(self._after_event if event else self._after_none):
            values[index] = value = factor * (1.0 + values[index])
            total += value
        return total >= self._level

    def delay(self, rate: float) -> float:
        """Bound on the mean number of steps to an alarm once events come independently at ``rate``; may be infinite.

        From Wald's identity: the logarithm of M is at least a random walk with steps ln e(t), which passes its limit
        by no more than its largest step. Holds whatever was seen before.
        """
        return min(map(self._delay, self._after_event, self._after_none, [rate] * len(self.alternatives)))

    def _delay(self, after_event: float, after_none: float, rate: float) -> float:
        gain = rate * math.log(after_event) + (1 - rate) * math.log(after_none)
        if gain <= 0:
            return math.inf
        return (math.log(self._level) + math.log(max(after_event, after_none))) / gain
