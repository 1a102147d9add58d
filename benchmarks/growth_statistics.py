"""Interquartile means of paired differences, stratified bootstrap intervals, and Holm's correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require

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


def mean(values: Values) -> Values:
    """Along the last axis."""
    return np.asarray(values.mean(axis=-1))


def compare(
    differences: Values,
    strata: NDArray[np.int64],
    *,
    clusters: NDArray[np.int64] | None = None,
    statistic: Callable[[Values], Values] = interquartile_mean,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """The statistic of differences (N,), bootstrapped within each stratum (N,).

    ``clusters`` (N,): what is drawn together, None: every difference by itself. All clusters of a stratum are to have
    as many differences; raises SchemaError where they have not.
    """
    rng = np.random.default_rng(seed)
    clusters = np.arange(len(differences)) if clusters is None else clusters
    members = [_clustered(np.flatnonzero(strata == stratum), clusters) for stratum in np.unique(strata)]
    drawn: list[Values] = []
    for start in range(0, samples, 500):  # bounds the memory
        count = min(500, samples - start)
        rows = [own[rng.integers(len(own), size=(count, len(own)))].reshape(count, -1) for own in members]
        drawn.append(statistic(differences[np.concatenate(rows, axis=1)]))
    values = np.concatenate(drawn)
    tail = min(float((values <= 0).mean()), float((values >= 0).mean()))
    low, high = np.quantile(values, [0.025, 0.975])
    return Comparison(
        mean=float(statistic(differences)), low=float(low), high=float(high), p=min(1.0, max(2 * tail, 1 / samples))
    )


def _clustered(rows: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of one stratum by cluster, (clusters, rows of each)."""
    names, sizes = np.unique(clusters[rows], return_counts=True)
    require(len(set(sizes.tolist())) == 1, "clusters", f"of one stratum differ in size: {sorted(set(sizes.tolist()))}")
    ordered = rows[np.argsort(clusters[rows], kind="stable")]
    return np.asarray(ordered.reshape(len(names), -1))


def ahead(differences: Values, *, least: float = 0.001) -> dict[str, float]:
    """Shares of differences (N,) above 0, and of those at least so far above it, below it, or within."""
    above, below = float((differences >= least).mean()), float((differences <= -least).mean())
    return {"above": float((differences > 0).mean()), "ahead": above, "behind": below, "level": 1 - above - below}


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
