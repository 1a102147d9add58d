"""How far two choices are apart on the same episodes, with what chance there is in it.

Episodes on one host's weights hang together, so what is left out in turn is all levels of a draw of weights at once,
within each family of tasks: a stratified jackknife over clusters, paired, with Student's t for as many degrees of
freedom as there are draws beyond the first of each family. A bootstrap would call two or three draws certain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from tamiyo_runtime.contracts.document import require
from tamiyo_train.tuning.outcomes import Outcomes
from tamiyo_train.tuning.yardstick import Figures, volumes

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One less the other, and its 95 % interval."""

    mean: float
    low: float
    high: float


class Jackknife:
    """Of some episodes, the same for whatever is compared on them.

    Raises SchemaError when a family has one draw only, which says nothing of chance.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        from scipy.stats import t  # type: ignore[import-untyped]  # scipy ships no types

        family = outcomes.family.numpy()
        pairs, cluster = np.unique(np.stack([family, outcomes.draw.numpy()]), axis=1, return_inverse=True)
        self._cluster = cluster.reshape(-1)
        self._size = np.bincount(self._cluster).astype(np.float64)
        members = np.bincount(pairs[0])[pairs[0]]  # draws of the family that each cluster is of
        require(bool((members > 1).all()), "draws", "there must be two of every family at least")
        same = pairs[0][:, None] == pairs[0]
        without = np.where(same, (members / (members - 1))[:, None], 1.0)
        np.fill_diagonal(without, 0.0)
        self._times = np.concatenate([np.ones((1, len(members))), without])  # the first row is what was played
        self._same, self._members = same.astype(np.float64), members
        self._quantile = float(t.ppf(0.975, len(members) - len(np.unique(family))))

    def differences(self, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> tuple[Difference, Difference]:
        """Of volume and of accuracy, given columns of `yardstick.Point`, each (E,)."""
        a, b = self._means(ours), self._means(theirs)
        return self._interval(volumes(a) - volumes(b)), self._interval(a["accuracy"] - b["accuracy"])

    def _means(self, columns: Mapping[str, Tensor]) -> dict[str, Figures]:
        """Means of everything, and without each cluster in turn."""
        count = self._times @ self._size
        sums = {name: np.bincount(self._cluster, weights=column.numpy()) for name, column in columns.items()}
        return {name: self._times @ total / count for name, total in sums.items()}

    def _interval(self, values: Figures) -> Difference:
        whole, without = float(values[0]), values[1:]
        centre = self._same @ without / self._members
        variance = float(((1 - 1 / self._members) * (without - centre) ** 2).sum())
        reach = self._quantile * math.sqrt(variance)
        return Difference(mean=whole, low=whole - reach, high=whole + reach)
