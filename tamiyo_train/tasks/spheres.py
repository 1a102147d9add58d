"""Stage 4: two concentric spheres in ten dimensions; the radius carries gaussian noise, the direction says nothing.

The best rule is a threshold midway between the radii; it is right with probability Phi(gap / (2 noise)), which is
99.4 % at the defaults, 0.5 and 0.1.
"""

from __future__ import annotations

import numpy as np

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, stages
from tamiyo_train.tasks.generated import CUT, generated, labels, noise_of, within

DIMENSIONS = 10
GAP = 0.5
NOISE = 0.1
BOUND = 1 + GAP + CUT * NOISE
SPEC = InputSpec(shape=(DIMENSIONS,), layout="D", offset=0.0, scale=1.0, raw_low=-BOUND, raw_high=BOUND)
SEED = 24
BAYES = 0.9938
"""Phi(2.5)."""


def draw(
    samples: int,
    *,
    rng: np.random.Generator,
    dimensions: int = DIMENSIONS,
    gap: float = GAP,
    noise: float = NOISE,
) -> Split:
    """``samples`` points of length 1 or 1 + ``gap``, half a class. Raises SchemaError."""
    within("dimensions", dimensions, 2, 64)
    within("gap", gap, 0.1, 2)
    within("noise", noise, 0, 0.2)
    require(gap > noise, "gap", f"must be above the noise of {noise}, got {gap}")
    y = labels(samples, 2)
    direction = rng.normal(0, 1, (samples, dimensions))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = 1 + gap * y + noise_of(rng, noise, (samples,))
    return Split(x=(radius[:, None] * direction).astype(np.float32), y=y)


@stages.register("spheres")
def spheres() -> Task:
    """The task in ten dimensions."""
    return generated("spheres", draw, classes=("inner", "outer"), spec=SPEC, seed=SEED)
