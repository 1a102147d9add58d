"""Metrics by name, each with its unit and the direction that is better. They read logits and labels, nothing else.

Logits are (N, C) with labels (N,), or (N, C, T) with labels (N, T) where every place of a sequence has its own answer;
for ``recall@1`` a row holds the likeness of one query to a gallery of C, and its label is the place of the true match.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.registry import Registry

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]
DEFAULT = "accuracy"


class Direction(StrEnum):
    """Which way a metric is better."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of merit. ``measure`` takes logits (rows, C) and labels (rows,); ``unit``: "share" (0..1) or "bits"."""

    name: str
    unit: str
    direction: Direction
    measure: Callable[[Logits, Labels], float]

    def __post_init__(self) -> None:
        require(self.unit in {"share", "bits"}, "unit", f"must be 'share' or 'bits', got '{self.unit}'")

    def of(self, logits: Logits, labels: Labels) -> float:
        """The metric of a split, NaN when a logit is not finite. Raises InputError when the shapes don't fit."""
        if logits.ndim < 2 or labels.shape != (logits.shape[0], *logits.shape[2:]) or not labels.size:
            raise InputError(
                f"logits of shape {logits.shape} for labels of shape {labels.shape}",
                hint="classes are the second axis of the logits, and labels have the others",
            )
        rows = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1]).astype(np.float64)
        return self.measure(rows, labels.ravel()) if np.isfinite(rows).all() else math.nan

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is strictly better than ``other``; NaN never is."""
        return one > other if self.direction is Direction.HIGHER else one < other

    def reaches(self, value: float, goal: float) -> bool:
        """Whether ``value`` is as good as ``goal`` or better; NaN is not."""
        return value >= goal if self.direction is Direction.HIGHER else value <= goal

    def text(self, value: float) -> str:
        """The value as people read it: shares in per cent, bits with three decimals."""
        return f"{value:.1%}" if self.unit == "share" else f"{value:.3f}"


metrics: Registry[Metric] = Registry("metrics")


def probabilities(logits: Logits) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def accuracy(logits: Logits, labels: Labels) -> float:
    """Share of rows whose largest logit is the label's."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def macro_auc(logits: Logits, labels: Labels) -> float:
    """Area under the ROC curve of each class's probability against the rest, averaged over classes.

    An area is the chance that a sample of the class gets a higher probability than one of the rest, ties half (the
    Mann-Whitney statistic). Raises InputError when a class has no sample, or every one.
    """
    shares = probabilities(logits)
    areas = []
    for label in range(logits.shape[1]):
        own = labels == label
        positives, negatives = int(own.sum()), int((~own).sum())
        if not positives or not negatives:
            raise InputError(
                f"the AUC of class {label} is not defined: {positives} samples of it, {negatives} of others",
                hint="every class must be in the split, and more than one",
            )
        _, place, counts = np.unique(shares[:, label], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # the mean rank among equals, from 1
        areas.append((ranks[own].sum() - positives * (positives + 1) / 2) / (positives * negatives))
    return float(np.mean(areas))


def bits_per_symbol(logits: Logits, labels: Labels) -> float:
    """Mean cross-entropy in bits: of a character, when every row is one."""
    top = logits.max(axis=1)
    nats = top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(nats.mean() / math.log(2))


def purity(logits: Logits, labels: Labels) -> float:
    """Share of rows that are of the commonest label of their cluster; the cluster is the largest logit's number."""
    clusters = logits.argmax(axis=1)
    return float(sum(np.bincount(labels[clusters == cluster]).max() for cluster in np.unique(clusters)) / len(labels))


for _metric in (
    Metric(name=DEFAULT, unit="share", direction=Direction.HIGHER, measure=accuracy),
    Metric(name="macro-auc", unit="share", direction=Direction.HIGHER, measure=macro_auc),
    Metric(name="bits/char", unit="bits", direction=Direction.LOWER, measure=bits_per_symbol),
    Metric(name="purity", unit="share", direction=Direction.HIGHER, measure=purity),
    Metric(name="recall@1", unit="share", direction=Direction.HIGHER, measure=accuracy),
):
    metrics.register(_metric.name)(_metric)
