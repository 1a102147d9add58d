"""Keeps lanes busy: when a host reaches its horizon its lane gets the next one while the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tamiyo_train.population.population import Population


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A host to train: its seed, and the peak of its learning rate, by default the episode's."""

    seed: int
    learning_rate: float | None = None


def trained(
    population: Population, jobs: Iterable[Job], *, window: int, tend: Callable[[Sequence[int]], None] | None = None
) -> Iterator[tuple[Job, int]]:
    """Train every job to its horizon; yields (job, lane) when one is done and its lane still holds it.

    ``tend`` is called with the lanes in training before each window of steps; that is where seeds are germinated.
    """
    waiting = iter(jobs)
    running: dict[int, Job] = {}

    def start(lane: int) -> None:
        job = next(waiting, None)
        if job is not None:
            population.fill(lane, seed=job.seed, learning_rate=job.learning_rate)
            running[lane] = job

    for lane in range(len(population)):
        start(lane)
    while running:
        if tend is not None:
            tend(tuple(running))
        population.train(window)
        for lane in population.finished:
            if lane in running:
                yield running.pop(lane), lane
                start(lane)
