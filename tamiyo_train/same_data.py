"""Jobs on files of the user's own, which have to be the same wherever a job is done."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, TypeVar

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_train.data import task_of

T = TypeVar("T")
_HINT = "the same files at the same path on every machine"


def bound(job: Callable[..., T], task: str, data: str | None) -> tuple[Callable[..., T], tuple[Any, ...]]:
    """The job to hand in and the arguments before its own: with the user's files it checks those first."""
    if data is None:
        return job, ()
    return on_same_data, (task_of(task, data).sha256(), task, data, job)


def on_same_data(sha256: str, task: str, data: str, job: Callable[..., T], *args: Any) -> T:
    """Do a job, perhaps on another machine than the one it was handed in on.

    Raises InputError when the files are not what they are there, by the hash of their task.
    """
    try:
        found = task_of(task, data).sha256()
    except InputError as exc:
        raise InputError(f"on {platform.node()}: {exc.message}", hint=_HINT) from exc
    if found != sha256:
        raise InputError(f"on {platform.node()}: {data} is not the same", hint=_HINT)
    return job(*args)
