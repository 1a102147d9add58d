"""Stage 3.5: two to five gaussian blobs in the plane, as far apart as makes the best possible purity what is asked for.

The blobs stand on a circle at equal angles, so the best rule is the nearest centre. Its purity for ``blobs`` blobs at
distance r standard deviations from the middle is the chance that a gaussian point keeps within pi / blobs of its own
direction: the integral of the density of that angle (Rice's law of phase), which has a closed form.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tamiyo_train.tasks.base import Split, Task, stages
from tamiyo_train.tasks.generated import CUT, generated, labels, noise_of, plane, within

BLOBS = 5
BAYES = 0.975
"""Purity of the nearest-centre rule, up to the cut of the noise: the standard deviation is solved for it."""
SEED = 23
_ANGLES = 2001


def purity_of(blobs: int, deviation: float) -> float:
    """Purity of the best rule for centres at distance 1 from the middle, by the closed form above."""
    r = 1 / deviation
    angle = np.linspace(-math.pi / blobs, math.pi / blobs, _ANGLES)
    along = r * np.cos(angle)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in along])
    across = np.exp(-((r * np.sin(angle)) ** 2) / 2)
    density = math.exp(-r * r / 2) / (2 * math.pi) + along * below * across / math.sqrt(2 * math.pi)
    return float(np.trapezoid(density, angle))


def deviation_for(blobs: int, purity: float) -> float:
    """The standard deviation that makes the best purity what is asked for, by bisection: purity falls as it rises."""
    low, high = 0.02, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if purity_of(blobs, middle) > purity else (low, middle)
    return (low + high) / 2


def draw(samples: int, *, rng: np.random.Generator, blobs: int = BLOBS, purity: float = BAYES) -> Split:
    """``samples`` points, as many a blob; ``purity``: that of the best rule. Raises SchemaError."""
    within("blobs", blobs, 2, 5)
    within("purity", purity, 0.9, 0.999)
    y = labels(samples, blobs)
    angle = 2 * np.pi * y / blobs
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Split(x=(points + noise_of(rng, deviation_for(blobs, purity), points.shape)).astype(np.float32), y=y)


@stages.register("clusters")
def clusters() -> Task:
    """The task with five blobs at a best purity of 97.5 %."""
    names = tuple(f"blob {number}" for number in range(BLOBS))
    made = generated("clusters", draw, classes=names, spec=plane(1 + CUT * deviation_for(BLOBS, BAYES)), seed=SEED)
    return replace(made, metric="purity")
