"""Stage 0: two interleaved spirals in the plane, 2.5 turns, with a little noise. Two classes of equal size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, stages

INPUT = InputSpec(shape=(2,), layout="D", offset=0.0, scale=1.0, raw_low=-1.5, raw_high=1.5)
TURNS = 2.5
NOISE = 0.02
SEED = 20


def draw(samples: int, *, rng: np.random.Generator, turns: float = TURNS, noise: float = NOISE) -> Split:
    """``samples`` points, half a class: radius rising from 0 to 1 with the angle, gaussian noise of ``noise``."""
    y = np.arange(samples) % 2
    position = np.sqrt(rng.uniform(0, 1, samples))  # even along the arm, which grows longer outwards
    angle = 2 * np.pi * turns * position + np.pi * y
    points = position[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x: NDArray[np.float32] = (points + rng.normal(0, noise, points.shape)).astype(np.float32)
    return Split(x=x, y=y.astype(np.int64))


@stages.register("spirals")
def spirals() -> Task:
    """The task: 2,000 training samples, 250 for the gates, 250 for the score, 1,000 to test."""
    rng = np.random.default_rng(SEED)
    return Task(
        name="spirals",
        classes=("first arm", "second arm"),
        input=INPUT,
        train=draw(2000, rng=rng),
        gate=draw(250, rng=rng),
        score=draw(250, rng=rng),
        test=draw(1000, rng=rng),
    )
