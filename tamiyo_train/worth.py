"""What a seed is worth to the network it is in: measured by leaving it out, compared with what it takes up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tamiyo_train.evaluation import Scores

_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Leave-one-out loss increase of a seed: mean and lower bound (nats), and relative to the loss with it.

    ``share``: its part of the network's parameters, 0..1.
    """

    increase: float
    low: float
    relative: float
    share: float

    def earns(self, utilisation: float) -> bool:
        """Whether the seed earns its place: it surely lowers the loss, and by ``utilisation`` of its share at least."""
        return self.low > 0 and self.relative >= utilisation * self.share

    def __str__(self) -> str:
        rise = f"the loss rises by {self.increase:.4f} without it, lower bound {self.low:.4f}"
        return f"{rise}: {self.relative:.4f} of it for {self.share:.3f} of the parameters"


def worth_of(present: Scores, absent: Scores, *, share: float, confidence: float) -> Worth:
    """Compare the network's outcome with and without a seed, sample by sample: the loss is -ln(sureness)."""
    with_seed, without = (-part.sureness.double().clamp_min(_TINY).log() for part in (present, absent))
    differences = without - with_seed
    mean = float(differences.mean())
    error = float(differences.std(unbiased=True)) / math.sqrt(len(differences))
    return Worth(
        increase=mean,
        low=mean - confidence * error,
        relative=mean / max(float(with_seed.mean()), _TINY),
        share=share,
    )


def evidence_of(present: Scores, absent: Scores) -> torch.Tensor:
    """One paired evaluation: sureness with minus without the seed, (N,)."""
    return (present.sureness - absent.sureness).detach().clone()
