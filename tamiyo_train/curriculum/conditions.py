"""What a stage demands, and whether what was measured meets it: a bound that has to hold at 95 % confidence.

A mean over networks grown from different seeds is bounded by Student's t, a rate by Clopper and Pearson's exact limits;
what is computed rather than sampled has no spread. The interval shown is the two-sided 90 % one: each of its ends is
the one-sided 95 % bound that decides.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum

from tamiyo_runtime.contracts.errors import SchemaError

CONFIDENCE = 0.95


class Sense(StrEnum):
    """Which side of the bound is good."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``measure`` names what is measured (`measures`), ``bound`` is in its unit.

    ``task``: measured on networks grown on that task; None is the stage's own.
    """

    measure: str
    sense: Sense
    bound: float
    task: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.bound):
            raise SchemaError("bound", f"{self.bound} of {self.measure} is no bound", hint="a finite number")

    @property
    def name(self) -> str:
        """What is measured, and on which task where that is not the stage's own."""
        return self.measure if self.task is None else f"{self.measure} on {self.task}"

    def __str__(self) -> str:
        return f"{self.name} {self.sense} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured: ``estimate`` with the ends of its 90 % interval, from ``count`` networks or trials.

    All three are None when nothing could be measured, and ``note`` says why.
    """

    estimate: float | None
    low: float | None
    high: float | None
    count: int
    note: str = ""

    def __post_init__(self) -> None:
        figures = (self.estimate, self.low, self.high)
        if None in figures and (any(figure is not None for figure in figures) or not self.note):
            raise SchemaError("evidence", "what was not measured has no figure at all, but a reason")
        if self.estimate is not None and not math.isfinite(self.estimate):
            raise SchemaError("evidence", f"{self.estimate} is no measurement", hint="say that it was not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A condition and what was measured of it."""

    condition: Condition
    evidence: Evidence

    @property
    def deciding(self) -> float | None:
        """The end of the interval that has to meet the bound."""
        return self.evidence.low if self.condition.sense is Sense.AT_LEAST else self.evidence.high

    @property
    def passed(self) -> bool:
        """Whether the bound holds at 95 % confidence. What was not measured has not passed."""
        return self.deciding is not None and self.short_by == 0.0

    @property
    def short_by(self) -> float | None:
        """How far the deciding end is from the bound, 0 when it holds, None when nothing was measured."""
        if self.deciding is None:
            return None
        gap = self.condition.bound - self.deciding
        return max(0.0, gap if self.condition.sense is Sense.AT_LEAST else -gap)


def of_values(values: tuple[float, ...], *, note: str = "") -> Evidence:
    """Evidence of one value a network: their mean with Student's t limits.

    A single value has no spread, so nothing can be said at any confidence: its interval is infinite.
    """
    from scipy.stats import t  # type: ignore[import-untyped]  # scipy ships no types

    if not values:
        return unmeasured("no network was measured")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Evidence(estimate=mean, low=-math.inf, high=math.inf, count=1, note=note or "one network has no spread")
    half = float(t.ppf(CONFIDENCE, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Evidence(estimate=mean, low=mean - half, high=mean + half, count=len(values), note=note)


def of_rate(successes: int, trials: int, *, note: str = "") -> Evidence:
    """Evidence of a rate: exact limits of C. J. Clopper and E. S. Pearson (Biometrika 26, 1934)."""
    from scipy.stats import beta

    if not 0 <= successes <= trials:
        raise SchemaError("rate", f"{successes} of {trials} is no rate")
    if trials == 0:
        return unmeasured("no trial was made")
    low = 0.0 if successes == 0 else float(beta.ppf(1 - CONFIDENCE, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(CONFIDENCE, successes + 1, trials - successes))
    return Evidence(estimate=successes / trials, low=low, high=high, count=trials, note=note)


def of_computed(value: float, *, low: float | None = None, high: float | None = None, note: str = "") -> Evidence:
    """Evidence of what is computed: no spread but the interval its model states."""
    return Evidence(
        estimate=value, low=value if low is None else low, high=value if high is None else high, count=1, note=note
    )


def unmeasured(reason: str) -> Evidence:
    """Nothing was measured, and why."""
    return Evidence(estimate=None, low=None, high=None, count=0, note=reason)
