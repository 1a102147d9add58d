"""Warm-ups beside stage 0: two moons in the plane, and two moons with a patch of each class behind the other's moon.

A moon is half a circle of radius 1; the second is the first, turned by half a turn about the point that is the origin
here. The patches of ``complex-moons`` are discs of radius 0.2, a quarter of the samples: along a vertical line the
classes then change up to four times instead of once or twice.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tamiyo_train.tasks.base import Split, Task, stages
from tamiyo_train.tasks.generated import generated, labels, noise_of, plane, within

SPEC = plane(2.25)
CLASSES = ("upper moon", "lower moon")
CENTRE = (-0.5, -0.25)
"""Of the upper moon's circle; the lower one's is opposite."""
PATCH = (-0.5, 1.2)
"""Of the lower moon's class, above the upper moon; the other patch is opposite."""
PATCH_RADIUS = 0.2
SEEDS = {"moons": 21, "complex-moons": 22}
BAYES = {"moons": 0.999, "complex-moons": 0.991}
"""Accuracy of the likelihood rule, by simulation."""


def draw(samples: int, *, rng: np.random.Generator, noise: float = 0.1, patches: float = 0.0) -> Split:
    """``samples`` points, half a class; the share ``patches`` of them lies in the patches. Raises SchemaError."""
    within("noise", noise, 0, 0.15)
    within("patches", patches, 0, 0.9)
    y = labels(samples, 2)
    side = 1 - 2 * y  # the lower class is the upper one, turned by half a turn
    angle = np.pi * rng.uniform(0, 1, samples)
    moon = np.stack([np.cos(angle), np.sin(angle)], axis=1) + CENTRE
    radius, direction = PATCH_RADIUS * np.sqrt(rng.uniform(0, 1, samples)), 2 * np.pi * rng.uniform(0, 1, samples)
    patch = radius[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1) - PATCH
    points = side[:, None] * np.where((rng.uniform(0, 1, samples) < patches)[:, None], patch, moon)
    return Split(x=(points + noise_of(rng, noise, points.shape)).astype(np.float32), y=y)


@stages.register("moons")
def moons() -> Task:
    """The task at noise 0.1, without patches."""
    return generated("moons", draw, classes=CLASSES, spec=SPEC, seed=SEEDS["moons"])


@stages.register("complex-moons")
def complex_moons() -> Task:
    """The task at noise 0.1, a quarter of the samples in the patches."""
    name = "complex-moons"
    return generated(name, partial(draw, patches=0.25), classes=CLASSES, spec=SPEC, seed=SEEDS[name])
