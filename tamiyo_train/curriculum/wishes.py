"""From what somebody asked of a course to its settings, and back from a course that was begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.errors import InputError, IntegrityError, UsageError
from tamiyo_train.curriculum.files import with_files
from tamiyo_train.curriculum.measures import FAULTS
from tamiyo_train.curriculum.runner import Settings
from tamiyo_train.curriculum.stage import Curriculum
from tamiyo_train.work import is_unfinished, settings_of

NETWORKS = 5
"""That an examination grows at least, for the bounds of a gate to be worth something."""
_SMOKE_FAULTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseWishes:
    """What was asked for; None takes what is usual, or when going on what the course was begun with.

    ``first`` and ``last``: stages to begin and to end with; ``data``: the user's own files, as "STAGE=PATH";
    ``networks``: grown for an examination.
    """

    first: str | None = None
    last: str | None = None
    data: Sequence[str] | None = None
    seed: int | None = None
    networks: int | None = None
    keep_going: bool | None = None
    smoke: bool = False


def settings_for(wishes: CourseWishes, curriculum: Curriculum, *, going_on: Path | None) -> Settings:
    """The settings of a course; ``going_on``: the folder of one that was begun, whose own hold where nothing is asked.

    Raises UsageError for too few networks, what `Curriculum.between` and `with_files` raise, and IntegrityError for a
    folder whose settings cannot be read.
    """
    begun = None if going_on is None else _begun(going_on)
    if begun is not None and wishes.first is None and wishes.last is None:
        stages = tuple(stage for stage in curriculum.stages if stage.id in begun.stages)
    else:
        stages = curriculum.between(wishes.first, wishes.last)
    smoke = wishes.smoke or (begun is not None and begun.smoke)
    networks = wishes.networks
    if networks is None:
        networks = NETWORKS if begun is None else begun.networks
    if networks < NETWORKS and not smoke:
        raise UsageError(
            f"an examination of {networks} networks shows too little: a gate asks for {NETWORKS} or more",
            hint="fewer are for --smoke, which tries the path",
        )
    return Settings(
        stages=with_files(stages, wishes.data if wishes.data is not None else begun.data if begun else ()),
        seed=wishes.seed if wishes.seed is not None else begun.seed if begun else 0,
        networks=networks,
        faults=_SMOKE_FAULTS if smoke else FAULTS,
        keep_going=wishes.keep_going if wishes.keep_going is not None else bool(begun and begun.keep_going),
        smoke=smoke,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """What a course was begun with, as its folder has it."""

    stages: tuple[str, ...]
    data: tuple[str, ...]
    seed: int
    networks: int
    keep_going: bool
    smoke: bool


def _begun(folder: Path) -> _Begun | None:
    if not is_unfinished(folder):
        return None
    kept = settings_of(folder)
    if "course" not in kept:
        raise InputError(
            f"what was begun in {folder} is no course", hint=f"if it is a run: tamiyo train {folder} --resume"
        )
    try:
        course: Mapping[str, Any] = kept["course"]
        stages: Mapping[str, Any] = kept["stages"]
        return _Begun(
            stages=tuple(stages),
            data=tuple(f"{name}={stage['data']}" for name, stage in stages.items() if stage["data"] is not None),
            seed=int(course["seed"]),
            networks=int(course["networks"]),
            keep_going=bool(course["keep_going"]),
            smoke=bool(course["smoke"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise IntegrityError(
            f"the settings in {folder} are damaged: {exc}", hint="start anew with --overwrite"
        ) from exc
