"""How far two choices are apart on the same episodes, with what chance there is in it.

Episodes on one host's weights hang together, so what is drawn anew is all levels of a draw of weights at once, within
each family of tasks: a stratified cluster bootstrap, paired, of percentiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from tamiyo_train.tuning.outcomes import Outcomes
from tamiyo_train.tuning.yardstick import Figures, volumes

Tensor = torch.Tensor
SAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One less the other, and its 95 % interval."""

    mean: float
    low: float
    high: float


class Resamples:
    """`SAMPLES` drawings of the draws of some episodes, the same for whatever is compared on them."""

    def __init__(self, outcomes: Outcomes, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        family = outcomes.family.numpy()
        pairs, self._cluster = np.unique(np.stack([family, outcomes.draw.numpy()]), axis=1, return_inverse=True)
        self._cluster = self._cluster.reshape(-1)
        self._size = np.bincount(self._cluster).astype(np.float64)
        times = np.zeros((SAMPLES, len(self._size)))
        for number in np.unique(family):
            members = np.flatnonzero(pairs[0] == number)
            times[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=SAMPLES)
        self._times = np.concatenate([np.ones((1, len(self._size))), times])  # the first is what was played

    def differences(self, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> tuple[Difference, Difference]:
        """Of volume and of accuracy, given columns of `yardstick.Point`, each (E,)."""
        a, b = self._means(ours), self._means(theirs)
        return _interval(volumes(a) - volumes(b)), _interval(a["accuracy"] - b["accuracy"])

    def _means(self, columns: Mapping[str, Tensor]) -> dict[str, Figures]:
        """Means of all drawings, (1 + SAMPLES,) each."""
        count = self._times @ self._size
        sums = {name: np.bincount(self._cluster, weights=column.numpy()) for name, column in columns.items()}
        return {name: self._times @ total / count for name, total in sums.items()}


def _interval(values: Figures) -> Difference:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Difference(mean=float(values[0]), low=float(low), high=float(high))
