"""Devices played one after the other here, or spread over processes: the same days whatever their number.

What the judges of a round have in common, everything on the air, goes to each process once.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from simulators.fleet.detail.air import Air, Assumed, Medium
from simulators.fleet.detail.device import Day, Job, live
from simulators.fleet.detail.link import Frame, Judge


class Crew:
    """Plays ``jobs``, by number of the device, with so many processes; ``on_day`` is called after each of them."""

    def __init__(self, jobs: Mapping[int, Job], *, workers: int = 1, on_day: Callable[[], None] | None = None) -> None:
        self._jobs, self._workers, self._on_day = jobs, workers, on_day

    def play(self, judges: Mapping[int, Assumed]) -> dict[int, Day]:
        """A `simulators.fleet.detail.settle.Play`; raises what a device raises."""
        if not judges:
            return {}
        one = next(iter(judges.values()))
        known = {number: judge.known for number, judge in judges.items()}
        return self._collect(known, lambda number: judges[number], (one.medium, one.air))

    def alone(self, numbers: Sequence[int]) -> dict[int, Day]:
        """Play devices that nobody disturbs."""
        return self._collect(dict.fromkeys(numbers), lambda number: _unjudged, None)

    def _collect(
        self,
        known: Mapping[int, Mapping[Frame, bool] | None],
        judge: Callable[[int], Judge],
        shared: tuple[Medium, Air] | None,
    ) -> dict[int, Day]:
        days = {}
        for number, day in self._days(known, judge, shared):
            days[number] = day
            if self._on_day is not None:
                self._on_day()
        return days

    def _days(
        self,
        known: Mapping[int, Mapping[Frame, bool] | None],
        judge: Callable[[int], Judge],
        shared: tuple[Medium, Air] | None,
    ) -> Iterator[tuple[int, Day]]:
        workers = min(self._workers, len(known))
        if workers <= 1:
            for number in known:
                yield number, live(self._jobs[number], judge(number))
            return
        work = [(self._jobs[number], number, frames) for number, frames in known.items()]
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(workers, context, _take, (shared,)) as pool:
            yield from zip(known, pool.map(_play, work), strict=True)


def _unjudged(frame: Frame) -> bool:
    raise AssertionError(f"a link that judges for itself asks about {frame}")


_shared: list[tuple[Medium, Air] | None] = []
"""Of a worker: what the judges of its round have in common."""


def _take(shared: tuple[Medium, Air] | None) -> None:
    _shared[:] = [shared]
    # LiteRT announces its delegate on file descriptor 2, where no Python setting reaches; errors go back as exceptions
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 2)


def _play(work: tuple[Job, int, Mapping[Frame, bool] | None]) -> Day:
    job, number, known = work
    (shared,) = _shared
    if shared is None or known is None:
        return live(job, _unjudged)
    return live(job, Assumed(number=number, medium=shared[0], air=shared[1], known=known))
