"""How a network takes images that were made or have become harder: attacked by their gradient, or corrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_train.data import Labelled
from tamiyo_train.evaluation import score
from tamiyo_train.faults.bound import lower_bound
from tamiyo_train.seed import GrownNetwork, evaluating

EPSILON = 0.03
"""Change of each input, which lies in 0..1."""
_RESAMPLINGS = 2000


def fgsm(network: GrownNetwork, split: Labelled, *, epsilon: float = EPSILON) -> torch.Tensor:
    """Inputs moved by ``epsilon`` along the sign of the loss's gradient, still in 0..1 (Goodfellow et al. 2015).

    Raises SchemaError when the inputs leave 0..1 as they are. The network is as before, gradients included.
    """
    inside = len(split.x) == 0 or (float(split.x.min()) >= 0 and float(split.x.max()) <= 1)
    require(inside, "x", "inputs to attack must be in 0..1 after scaling")
    with evaluating(network), torch.enable_grad():
        x = split.x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), split.y, reduction="sum"), x)
    return (split.x + epsilon * gradient.sign()).clamp(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What an attack does: of ``right`` images that were answered correctly, ``lost`` are not any more."""

    right: int
    lost: int

    @property
    def drop(self) -> float:
        """Clean minus attacked accuracy on the images that were right, fraction; 0 when none was."""
        return self.lost / self.right if self.right else 0.0

    @property
    def drop_high(self) -> float:
        """One-sided exact 95 % upper bound of the drop; 1 when no image was right."""
        return 1 - lower_bound(self.right - self.lost, self.right) if self.right else 1.0


def attacked(network: GrownNetwork, split: Labelled, *, epsilon: float = EPSILON) -> Attack:
    """FGSM on the images of a split that the network answers correctly."""
    right = score(network, split).correct
    kept = Labelled(x=split.x[right], y=split.y[right])
    if not len(kept.y):
        return Attack(right=0, lost=0)
    after = score(network, Labelled(x=fgsm(network, kept, epsilon=epsilon), y=kept.y)).correct
    return Attack(right=len(kept.y), lost=int((~after).sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoising:
    """Answers to the same images clean and under each corruption: ``clean`` (N,) and ``corrupted`` (N,), right or not.

    ``host``: those of the network without its seeds to the clean images.
    """

    host: NDArray[np.bool_]
    clean: NDArray[np.bool_]
    corrupted: Mapping[str, NDArray[np.bool_]]

    def accuracy(self, *, without: tuple[str, ...] = ()) -> float:
        """Mean accuracy over the corruptions but those named."""
        return float(np.mean([right.mean() for name, right in self.corrupted.items() if name not in without]))

    def accuracy_low(self) -> float:
        """One-sided 95 % lower bound of the mean accuracy, images resampled: an image's 15 versions go together."""
        return float(np.quantile(self._resampled(np.stack(list(self.corrupted.values())).mean(0)), 0.05))

    @property
    def score(self) -> float:
        """Accuracy on corrupted over that on clean images, averaged over the corruptions."""
        return self.accuracy() / float(self.clean.mean())

    @property
    def score_low(self) -> float:
        """One-sided 95 % lower bound of the score, by the same resampling."""
        kept = self._resampled(np.stack(list(self.corrupted.values())).mean(0)), self._resampled(self.clean)
        return float(np.quantile(kept[0] / kept[1], 0.05))

    @property
    def clean_loss(self) -> float:
        """Accuracy on clean images with the seeds switched off, minus with them, fraction.

        A host that grew with seeds is worse without them than one that never had any: this bounds no cost.
        """
        return float(self.host.mean() - self.clean.mean())

    def _resampled(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Means over images drawn with replacement, the same draws at every call."""
        rows = np.random.default_rng(0).integers(len(values), size=(_RESAMPLINGS, len(values)))
        means: NDArray[np.float64] = values.astype(np.float64)[rows].mean(axis=1)
        return means


def denoising(network: GrownNetwork, clean: Labelled, corrupted: Mapping[str, Labelled]) -> Denoising:
    """How a network takes corruptions: the same images, clean and under each."""
    bare = [0.0] * network.slots
    return Denoising(
        host=score(network, clean, bare).correct.numpy(),
        clean=score(network, clean).correct.numpy(),
        corrupted={name: score(network, split).correct.numpy() for name, split in corrupted.items()},
    )
