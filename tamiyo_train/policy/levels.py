"""The tasks a growth policy learns on and those it is judged on: generators at levels of difficulty that never overlap.

A family is a generator with the host that suits it; its training levels and its held-out levels are disjoint, and so
are the seeds of their samples. Digits and MNIST-1D are held out as a whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.blueprints import OFFERED, Blueprint, Domain, blueprints
from tamiyo_train.config import Episode, Limits
from tamiyo_train.data import Tensors, data_of, task_of, tensors
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.tasks import checkerboard, clusters, spheres, spirals
from tamiyo_train.tasks.generated import CUT, Draw, generated, plane

TRAINING_DATA, HELD_OUT_DATA = 71_000, 72_000
"""Seeds of the samples, plus the number of the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A generator: ``draw`` at a level, its classes and input at that level, its host, and the levels of both kinds."""

    name: str
    draw: Callable[[float], Draw]
    classes: int
    spec: Callable[[float], InputSpec]
    host: str
    width: int
    training: tuple[float, ...]
    held_out: tuple[float, ...]

    def builder(self) -> Callable[[], Host]:
        """Makes hosts of the family."""
        shape = self.spec(self.training[0]).shape
        return functools.partial(hosts.get(self.host), shape=shape, classes=self.classes, width=self.width)

    def data(self, level: float, *, seed: int) -> Tensors:
        """Samples at a level."""
        names = tuple(f"class {number}" for number in range(self.classes))
        task = generated(f"{self.name} {level:g}", self.draw(level), classes=names, spec=self.spec(level), seed=seed)
        return tensors(task)

    def training_data(self) -> list[Tensors]:
        """Samples of all training levels."""
        return [self.data(level, seed=TRAINING_DATA + number) for number, level in enumerate(self.training)]

    def held_out_data(self) -> list[Tensors]:
        """Samples of all held-out levels."""
        return [self.data(level, seed=HELD_OUT_DATA + number) for number, level in enumerate(self.held_out)]


def _spheres(gap: float) -> InputSpec:
    bound = 1 + gap + CUT * spheres.NOISE
    return InputSpec(shape=(spheres.DIMENSIONS,), layout="D", offset=0.0, scale=1.0, raw_low=-bound, raw_high=bound)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                name="spirals",
                draw=lambda turns: functools.partial(spirals.draw, turns=turns),
                classes=2,
                spec=lambda turns: spirals.SPEC,
                host="mlp-skip",
                width=4,
                training=(1.0, 1.5, 2.0, 2.5, 3.0),
                held_out=(1.25, 2.25, 3.25),
            ),
            Family(
                name="checkerboard",
                draw=lambda squares: functools.partial(checkerboard.draw, squares=int(squares)),
                classes=2,
                spec=lambda squares: checkerboard.SPEC,
                host="mlp-skip",
                width=6,
                training=(2, 3, 5, 6, 8),
                held_out=(4, 7, 9),
            ),
            Family(
                name="clusters",
                draw=lambda purity: functools.partial(clusters.draw, purity=purity),
                classes=clusters.BLOBS,
                spec=lambda purity: plane(1 + CUT * clusters.deviation_for(clusters.BLOBS, purity)),
                host="mlp",
                width=4,
                training=(0.90, 0.93, 0.96, 0.98, 0.99),
                held_out=(0.915, 0.95, 0.985),
            ),
            Family(
                name="spheres",
                draw=lambda gap: functools.partial(spheres.draw, gap=gap),
                classes=2,
                spec=_spheres,
                host="mlp-skip",
                width=6,
                training=(0.2, 0.3, 0.5, 0.7, 1.0),
                held_out=(0.25, 0.4, 0.6),
            ),
        )
    }
)
UNSEEN: Mapping[str, tuple[str, int]] = MappingProxyType({"digits": ("mlp-skip", 6), "mnist1d": ("mlp-skip", 12)})
"""Data sets on which no policy is taught, with host and width."""


def unseen(name: str) -> tuple[Callable[[], Host], list[Tensors]]:
    """Maker of hosts and samples of a data set that is held out as a whole."""
    host, width = UNSEEN[name]
    task = task_of(name)
    build = functools.partial(hosts.get(host), shape=task.input.shape, classes=len(task.classes), width=width)
    return build, [data_of(name)]


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
