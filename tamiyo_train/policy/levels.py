"""The tasks a growth policy learns on and those it is judged on: families at levels of difficulty that never overlap.

A family is a kind of task with the host that suits it; its training levels and its held-out levels are disjoint, and so
are the seeds of their samples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.blueprints import OFFERED, Blueprint, Domain, blueprints
from tamiyo_train.config import Episode, Limits
from tamiyo_train.data import Tensors, tensors
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.policy import level_tasks
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.tasks import checkerboard, clusters, spheres, spirals
from tamiyo_train.tasks.base import Task
from tamiyo_train.tasks.generated import CUT, SCORE, Draw, generated, plane

TRAINING_DATA, HELD_OUT_DATA = 71_000, 72_000
"""Seeds of the samples, plus the number of the level."""
TRAINING_SCORE = 2000
"""Samples that price outcomes while a policy learns; four times as many as it is judged by, for half the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Tasks of one shape: ``taught(level, seed=, score=)`` makes one to learn on, ``judged`` one to be judged by.

    ``host`` and ``width`` suit them; levels ``training`` and ``held_out`` never meet, nor do seeds of their samples.
    """

    name: str
    taught: Maker
    judged: Maker
    host: str
    width: int
    inputs: int
    classes: int
    training: tuple[float, ...]
    held_out: tuple[float, ...]

    def builder(self) -> Callable[[], Host]:
        """Makes hosts of the family."""
        return functools.partial(hosts.get(self.host), shape=(self.inputs,), classes=self.classes, width=self.width)

    def training_level(self, number: int) -> Tensors:
        """Samples of a training level, many of them to price outcomes by."""
        return tensors(self.taught(self.training[number], seed=TRAINING_DATA + number, score=TRAINING_SCORE))

    def held_out_level(self, number: int) -> Tensors:
        """Samples of a held-out level."""
        return self.judged_level(self.held_out[number], seed=HELD_OUT_DATA + number)

    def judged_level(self, level: float, *, seed: int) -> Tensors:
        """Samples of any level to be judged on; ``seed``: of the samples."""
        return tensors(self.judged(level, seed=seed, score=SCORE))

    def training_data(self) -> list[Tensors]:
        """Samples of all training levels."""
        return [self.training_level(number) for number in range(len(self.training))]

    def held_out_data(self) -> list[Tensors]:
        """Samples of all held-out levels."""
        return [self.held_out_level(number) for number in range(len(self.held_out))]


class Maker(Protocol):
    """Makes the task of a level, with at least ``score`` samples in the score split."""

    def __call__(self, level: float, /, *, seed: int, score: int) -> Task: ...


def _generator(
    name: str,
    draw: Callable[[float], Draw],
    *,
    classes: int,
    spec: Callable[[float], InputSpec],
    host: str,
    width: int,
    training: tuple[float, ...],
    held_out: tuple[float, ...],
) -> Family:
    """A family of a generator: fresh samples for every level."""

    def make(level: float, /, *, seed: int, score: int) -> Task:
        names = tuple(f"class {number}" for number in range(classes))
        return generated(f"{name} {level:g}", draw(level), classes=names, spec=spec(level), seed=seed, score=score)

    return Family(
        name=name,
        taught=make,
        judged=make,
        host=host,
        width=width,
        inputs=spec(training[0]).shape[0],
        classes=classes,
        training=training,
        held_out=held_out,
    )


def _spheres(gap: float) -> InputSpec:
    bound = 1 + gap + CUT * spheres.NOISE
    return InputSpec(shape=(spheres.DIMENSIONS,), layout="D", offset=0.0, scale=1.0, raw_low=-bound, raw_high=bound)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            _generator(
                "spirals",
                lambda turns: functools.partial(spirals.draw, turns=turns),
                classes=2,
                spec=lambda turns: spirals.SPEC,
                host="mlp-skip",
                width=4,
                training=(1.0, 1.5, 2.0, 2.5, 3.0),
                held_out=(1.25, 2.25, 3.25),
            ),
            _generator(
                "checkerboard",
                lambda squares: functools.partial(checkerboard.draw, squares=int(squares)),
                classes=2,
                spec=lambda squares: checkerboard.SPEC,
                host="mlp-skip",
                width=6,
                training=(2, 3, 5, 6, 8),
                held_out=(4, 7, 9),
            ),
            _generator(
                "clusters",
                lambda purity: functools.partial(clusters.draw, purity=purity),
                classes=clusters.BLOBS,
                spec=lambda purity: plane(1 + CUT * clusters.deviation_for(clusters.BLOBS, purity)),
                host="mlp",
                width=4,
                training=(0.90, 0.93, 0.96, 0.98, 0.99),
                held_out=(0.915, 0.95, 0.985),
            ),
            _generator(
                "spheres",
                lambda gap: functools.partial(spheres.draw, gap=gap),
                classes=2,
                spec=_spheres,
                host="mlp-skip",
                width=6,
                training=(0.2, 0.3, 0.5, 0.7, 1.0),
                held_out=(0.25, 0.4, 0.6),
            ),
            Family(
                name="digits",
                taught=level_tasks.digits,
                judged=functools.partial(level_tasks.digits, held_out=True),
                host="mlp-skip",
                width=6,
                inputs=64,
                classes=10,
                training=(1, 2, 4, 6, 8),
                held_out=(1.5, 3, 7),
            ),
            Family(
                name="mnist1d",
                taught=level_tasks.mnist1d,
                judged=level_tasks.mnist1d,
                host="mlp-skip",
                width=12,
                inputs=40,
                classes=10,
                training=(4, 12, 20, 28, 40),
                held_out=(8, 24, 48),
            ),
            Family(
                name="imu",
                taught=level_tasks.imu,
                judged=level_tasks.imu,
                host="mlp-skip",
                width=6,
                inputs=18,
                classes=6,
                training=(0.5, 1.5, 3, 5, 8),
                held_out=(1, 4, 9),
            ),
        )
    }
)


EPISODE = Episode(
    steps=1500,
    decisions=15,
    consolidation_steps=0,
    gate_dropout=0.0,
    batch=64,
    learning_rate=1e-2,
    utilisation=None,
    limits=Limits(drift_hold=1.5, drift_critical=1.9),
)
"""Fixed horizon: 1,500 steps of 64 samples, a decision every 100."""
PROFILES = ("raspberry-pi-4", "cortex-m4", "coral-m2")
"""Devices budgets are drawn from."""
OFFERS: tuple[Blueprint, ...] = tuple(blueprints.get(name) for name in OFFERED[Domain.VECTOR])
_TAUGHT = ("bottleneck", "low-rank", "residual-mlp", "glu", "widening")
TAUGHT = tuple(number for number, blueprint in enumerate(OFFERS) if blueprint.name in _TAUGHT)
"""Numbers of the blueprints that a population can grow; the others are never offered there."""


def growth(
    build: Callable[[], Host], data: Sequence[Tensors], *, device: str = "cpu", episode: Episode = EPISODE
) -> TensorGrowth:
    """Episodes on tasks of one shape, as the policy is taught and judged."""
    return TensorGrowth(build, data, episode, blueprints=OFFERS, taught=TAUGHT, profiles=PROFILES, device=device)
