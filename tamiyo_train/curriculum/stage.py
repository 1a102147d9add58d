"""A stage of the curriculum as data: what is learned, for which device, and the conditions of its gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError, UsageError
from tamiyo_train.config import TrainConfig, adapted, smoke
from tamiyo_train.curriculum.conditions import Condition, Sense
from tamiyo_train.presets import preset
from tamiyo_train.tasks.files import format_of

DRIFT, SPACE_DRIFT = "drift", "cross-modal drift"
"""The measures that training can be held to as it goes, see `turning` and `alignment`."""
DRIFT_MARGIN = 0.5
"""Of the bound in a gate: what training aims at, for the gate judges the tail of what training makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """``success`` is the condition that counts for forgetting too, ``safety`` are the others; ``taught`` names the
    blueprints that the stage is there to teach, ``warm_ups`` tasks that its episodes are collected on as well.
    ``width`` of the host, and ``attack``, the FGSM that networks are trained against: None is the preset's.
    ``formats``: of files that may take the place of its samples; ``data``: where they lie, in the format that ``task``
    then names."""

    id: str
    title: str
    task: str
    profile: str
    taught: tuple[str, ...]
    success: Condition
    safety: tuple[Condition, ...]
    warm_ups: tuple[str, ...] = ()
    width: int | None = None
    attack: float | None = None
    formats: tuple[str, ...] = ()
    data: str | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The whole gate, success first."""
        return (self.success, *self.safety)

    @property
    def others(self) -> tuple[str, ...]:
        """Tasks beside its own that networks are examined on."""
        return tuple(dict.fromkeys(condition.task for condition in self.conditions if condition.task is not None))

    def on(self, task: str) -> Stage:
        """The stage on one of its other tasks, with the part of the gate that is about that one."""
        own = tuple(replace(condition, task=None) for condition in self.conditions if condition.task == task)
        return replace(self, task=task, success=own[0], safety=own[1:], width=None, attack=None, warm_ups=())

    @property
    def drift_target(self) -> float | None:
        """What training lets a sample turn: a share of what the gate allows the 95th percentile, None without one."""
        return self._aim(DRIFT)

    @property
    def space_target(self) -> float | None:
        """What training lets a seed move the space of two modalities: the same of cross-modal drift."""
        return self._aim(SPACE_DRIFT)

    def _aim(self, measure: str) -> float | None:
        own = [condition for condition in self.safety if condition.task is None]
        bounds = [condition.bound for condition in own if condition.measure == measure]
        return DRIFT_MARGIN * min(bounds) if bounds else None

    def config(self, *, is_smoke: bool = False) -> TrainConfig:
        """How its networks are grown: the task's preset, priced for the stage's device, held to its gate's drift."""
        config = replace(preset(self.task, self.data), profile=self.profile)
        return adapted(
            smoke(config) if is_smoke else config,
            width=self.width,
            attack=self.attack,
            drift_target=self.drift_target,
            space_target=self.space_target,
        )

    def reading(self, path: Path) -> Stage:
        """The same gate on a user's own files, without warm-ups.

        Raises UsageError for a stage whose gate asks what only its own samples can tell, InputError for files of
        another format.
        """
        if not self.formats:
            raise UsageError(
                f"stage {self.id} takes no files: its gate asks what only its own samples can tell",
                hint="leave --data out for it",
            )
        name = format_of(path)
        if name not in self.formats:
            raise InputError(
                f"{path} is of format '{name}'; stage {self.id} reads {', '.join(self.formats)}",
                hint="docs/tasks.md says how such files are named",
            )
        return replace(self, task=name, data=str(path), warm_ups=())


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Stages in order."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        ids = [stage.id for stage in self.stages]
        require(len(set(ids)) == len(ids), "stages", "ids come once each")

    def stage(self, name: str) -> Stage:
        """The stage of that id; raises UnknownNameError with those there are."""
        for stage in self.stages:
            if stage.id == name:
                return stage
        raise UnknownNameError("stage", name, [stage.id for stage in self.stages])

    def between(self, first: str | None, last: str | None) -> tuple[Stage, ...]:
        """The stages from one to another, both included; None is the first or the last there is.

        Raises UnknownNameError for an id that is none, UsageError when the last comes before the first.
        """
        begin = 0 if first is None else self.stages.index(self.stage(first))
        end = len(self.stages) - 1 if last is None else self.stages.index(self.stage(last))
        if begin > end:
            raise UsageError(f"stage {last} comes before stage {first}", hint=f"--from {last} --to {first}")
        return self.stages[begin : end + 1]


def at_least(measure: str, bound: float, *, on: str | None = None) -> Condition:
    """``measure`` has to be ``bound`` or more; ``on``: another task than the stage's own."""
    return Condition(measure=measure, sense=Sense.AT_LEAST, bound=bound, task=on)


def at_most(measure: str, bound: float, *, on: str | None = None) -> Condition:
    """``measure`` has to be ``bound`` or less; ``on``: another task than the stage's own."""
    return Condition(measure=measure, sense=Sense.AT_MOST, bound=bound, task=on)


def ids(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Their ids in order."""
    return tuple(stage.id for stage in stages)
