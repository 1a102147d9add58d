"""Interquartile means of paired differences, stratified bootstrap intervals, and Holm's correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 10_000
Values = NDArray[np.float64]


def interquartile_mean(values: Values) -> Values:
    """Mean of the middle half along the last axis: a quarter of the values, rounded down, is cut off at either end."""
    count = values.shape[-1]
    cut = count // 4
    middle = np.partition(values, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return np.asarray(middle.mean(axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired difference with its 95 % interval and p, plain and after Holm's correction (None: not in the family)."""

    mean: float
    low: float
    high: float
    p: float
    p_holm: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Plain data."""
        return asdict(self)


def compare(
    differences: Values,
    strata: NDArray[np.int64],
    *,
    statistic: Callable[[Values], Values] = interquartile_mean,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """The statistic of differences (N,), bootstrapped within each stratum (N,)."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    drawn: list[Values] = []
    for start in range(0, samples, 500):  # bounds the memory
        count = min(500, samples - start)
        rows = np.concatenate([own[rng.integers(len(own), size=(count, len(own)))] for own in members], axis=1)
        drawn.append(statistic(differences[rows]))
    values = np.concatenate(drawn)
    tail = min(float((values <= 0).mean()), float((values >= 0).mean()))
    low, high = np.quantile(values, [0.025, 0.975])
    return Comparison(
        mean=float(statistic(differences)), low=float(low), high=float(high), p=min(1.0, max(2 * tail, 1 / samples))
    )


def holm(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The same with p corrected for their number: p(k) (m - k), never below the one before."""
    ordered: Sequence[str] = sorted(comparisons, key=lambda name: comparisons[name].p)
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, comparisons[name].p * (len(ordered) - rank)))
        corrected[name] = highest
    return {
        name: Comparison(mean=c.mean, low=c.low, high=c.high, p=c.p, p_holm=corrected[name])
        for name, c in comparisons.items()
    }
