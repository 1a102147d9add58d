"""A user's own files in the place of a stage's samples: named on the command line, kept with the course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError
from tamiyo_train.curriculum.stage import Stage, ids
from tamiyo_train.data import task_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a stage was examined on; ``sha256``: of all samples and labels in them."""

    path: str
    format: str
    sha256: str


def with_files(stages: Sequence[Stage], given: Sequence[str]) -> tuple[Stage, ...]:
    """The stages, those named in ``given`` ("STAGE=PATH") on the files there.

    Raises UsageError for text of another form and a stage named twice, UnknownNameError for one that is not among
    them, and what `Stage.reading` raises.
    """
    paths: dict[str, Path] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not (sign and path):
            raise UsageError(f"--data {text}: in a course a path belongs to a stage", hint="--data 1=path/to/files")
        if name not in ids(stages):
            raise UnknownNameError("stage", name, ids(stages))
        if name in paths:
            raise UsageError(f"--data names stage {name} twice", hint="one folder or file a stage")
        paths[name] = Path(path)
    return tuple(stage.reading(paths[stage.id]) if stage.id in paths else stage for stage in stages)


def files_of(stages: Sequence[Stage]) -> dict[str, Files]:
    """The files among what stages learn from, by stage; raises InputError when they cannot be used."""
    return {
        stage.id: Files(path=stage.data, format=stage.task, sha256=task_of(stage.task, stage.data).sha256())
        for stage in stages
        if stage.data is not None
    }
