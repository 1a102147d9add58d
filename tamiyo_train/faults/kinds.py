"""Kinds of faults: a registry, and what one trial is and comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.faults.scene import WINDOW, Scene

POINT = 0.001
"""A tenth of a percentage point: how far the metric may be off after a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One fault and what came of it. ``steps``: between the fault and its detection, None when it was not detected.

    ``whole``: what was restored is bit-equal to what was there before the fault; ``metric``: change of accuracy on the
    gate split, fraction, None when nothing was restored. ``told``: what was done, and what was said about it.
    """

    kind: str
    index: int
    fault: str
    steps: int | None
    whole: bool
    metric: float | None
    told: str = ""

    @property
    def rolled_back(self) -> bool:
        """Detected in time, restored bit by bit, and as accurate as before."""
        return (
            self.steps is not None
            and self.steps <= WINDOW
            and self.whole
            and self.metric is not None
            and abs(self.metric) <= POINT
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A trial without its place in the campaign."""

    fault: str
    steps: int | None
    whole: bool
    metric: float | None
    told: str = ""


Kind = Callable[[Scene, np.random.Generator], Outcome]
"""Draws a fault, lets it happen to the scene, and says what came of it; the scene is rewound before each call."""

kinds: Registry[Kind] = Registry("fault kinds")


def under_guard(scene: Scene, rng: np.random.Generator, fault: str, strike: Callable[[], None]) -> Outcome:
    """Let ``strike`` happen at a step drawn from a window of training, and judge what the governor did."""
    return judged(scene, fault, after=int(rng.integers(WINDOW - 1)), strike=strike)


def judged(scene: Scene, fault: str, *, after: int, strike: Callable[[], None]) -> Outcome:
    """The same after a given number of steps: compare what was restored with the states before the fault."""
    recovery = scene.train_with(strike, after=after)
    if recovery is None:
        return Outcome(fault=fault, steps=None, whole=False, metric=None, told="not detected")
    whole = recovery.state in scene.sound
    return Outcome(
        fault=fault,
        steps=recovery.steps,
        whole=whole,
        metric=recovery.accuracy - scene.sound[recovery.state] if whole else None,
        told=_last_panic(scene),
    )


def _last_panic(scene: Scene) -> str:
    panics = [entry for entry in scene.audit.entries if entry.kind == "panic"]
    return str(panics[-1].data["panic"]) if panics else ""
