"""Jobs of a course: done on a crew, kept as they are done, not done again when the course is taken up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tamiyo_train.config import TrainConfig
from tamiyo_train.pool import Crew, Workers, crew_of
from tamiyo_train.progress import OnProgress, Phase
from tamiyo_train.same_data import bound
from tamiyo_train.work import Work, keeping

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[T]):
    """``function`` of ``arguments`` and a counter of its ``steps``; kept under ``name``, unlike any other's."""

    name: str
    kind: type[T]
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    steps: int


def done(phase_name: str, jobs: Sequence[Job[T]], *, processes: Workers, work: Work, report: OnProgress) -> list[T]:
    """What each job gave, in their order, whatever the workers."""
    with crew_of(processes, jobs=len(jobs)) as crew:
        phase = Phase(phase_name, crew, report)
        ready = [_ready(job, crew, phase, work) for job in jobs]
        phase.begin()
        futures = [begin() for begin in ready]
        for _ in crew.done(futures):
            pass
        phase.end(f"{len(jobs)} done")
        return [future.result() for future in futures]


def _ready(job: Job[T], crew: Crew, phase: Phase, work: Work) -> Callable[[], Future[T]]:
    counter = phase.counter(job.steps)
    found = work.kept(job.name, job.kind)
    if found is not None:
        phase.is_done(counter)
        future: Future[T] = Future()
        future.set_result(found)
        return lambda: future
    path = work.path(job.name)
    function, before = job.function, ()
    config = job.arguments[0]
    if isinstance(config, TrainConfig):
        function, before = bound(job.function, config.task, config.data)
    arguments: tuple[Any, ...] = (*before, *job.arguments, counter)
    return lambda: keeping(crew.submit(function, *arguments), path)
