"""What the synthetic tasks share: balanced labels, bounded noise, and splits drawn one after another.

Every draw is fresh from a continuous law, so the splits share no sample. Noise is gaussian, cut at `CUT` standard
deviations, so that a task's raw range is a bound of its law and not a guess; the cut touches one value in two million.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, check_samples

CUT = 5.0
TRAIN, GATE, SCORE, TEST = 2000, 500, 500, 1000


class Draw(Protocol):
    """A generator at its default difficulty: ``samples`` labelled points from ``rng``."""

    def __call__(self, samples: int, /, *, rng: np.random.Generator) -> Split: ...


def generated(
    name: str, draw: Draw, *, classes: tuple[str, ...], spec: InputSpec, seed: int, score: int = SCORE
) -> Task:
    """The task that ``draw`` makes: 2,000 training samples, 500 for the gates, ``score`` for that, 1,000 to test.

    Raises InputError when what was drawn is not finite, leaves the range of ``spec`` or lacks a class.
    """
    rng = np.random.default_rng(seed)
    parts = [draw(size, rng=rng) for size in (TRAIN, GATE, score, TEST)]
    for split in parts:
        check_samples(split.x, split.y, spec=spec, classes=len(classes))
    train, gate, priced, test = parts
    return Task(name=name, classes=classes, input=spec, train=train, gate=gate, score=priced, test=test)


def labels(samples: int, classes: int) -> NDArray[np.int64]:
    """``samples`` labels, the classes in turn; raises SchemaError when they are too few for every class."""
    require(samples >= classes, "samples", f"{samples} are too few for {classes} classes")
    return (np.arange(samples) % classes).astype(np.int64)


def noise_of(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Gaussian noise of the given standard deviation, cut at `CUT` of them."""
    return rng.normal(0, 1, shape).clip(-CUT, CUT) * deviation


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise SchemaError, naming the parameter, when it is outside [low, high] or not a number."""
    require(low <= value <= high, name, f"must be in [{low:g}, {high:g}], got {value}")


def plane(bound: float) -> InputSpec:
    """Points of the plane as they are, both coordinates in [-bound, bound]."""
    return InputSpec(shape=(2,), layout="D", offset=0.0, scale=1.0, raw_low=-bound, raw_high=bound)
