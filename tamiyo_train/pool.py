"""Work spread over processes, with the same results whatever their number, and news of how far each job has come.

`cluster` has the same for the machines of a Ray cluster.

Each job is a pure function of its argument, runs torch on one thread, and is collected in the order it was handed in.
Workers are forked from a clean server process that has torch loaded already, so that starting them is cheap and safe.
They end with this process, however it ends: each waits for the end of a pipe that only this process holds open.
Nothing here loads torch at import: the server can be started first and load it while this process does.
"""

from __future__ import annotations

import array
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from tamiyo_runtime.contracts.errors import TamiyoError, UsageError

P = ParamSpec("P")
T = TypeVar("T")

_PRELOAD = ["tamiyo_train.growing", "sklearn.datasets", "torch._dynamo"]
"""What the server loads (the first optimiser of a process would load the last one, for two seconds).

A module that is not installed is skipped, and missed where it is used.
"""
_REFRESH_S = 0.2
RAY = "ray"
Workers = int | str
"""So many processes of this machine, 1 for this very one; or a Ray cluster: this machine's (`RAY`), or ray://HOST:PORT."""


def workers_of(text: str) -> Workers:
    """Workers as a command line names them; raises UsageError, and MissingExtraError when Ray is not installed."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text == RAY or text.startswith("ray://"):
        from tamiyo_train.cluster import check_installed

        check_installed()
        return text
    raise UsageError(
        f"--workers {text}: neither a number of processes nor a Ray cluster",
        hint=f"1 or more, {RAY} for the cluster of this machine, or ray://HOST:10001",
    )


class _Counts:
    """Of the process it is in: how far each job has come, and whom to tell when that is in this very process."""

    counts: Any = array.array("q")
    on_count: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the steps of one job. It goes to the worker with the job; what it counts is seen here."""

    index: int

    def __call__(self, done: int) -> None:
        """So many steps are done."""
        _Counts.counts[self.index] = done
        if _Counts.on_count is not None:
            _Counts.on_count()


class Inline(Executor):
    """Runs each job in this process when it is handed in."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do the work; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001  (a future hands any error on to who asks for the result)
            future.set_exception(exc)
        return future


class Crew:
    """Workers, and a count of steps for each of their jobs. ``on_count`` is called whenever counts may have changed.

    ``here``: does what has to be done on this machine, when the other workers may be elsewhere.
    """

    def __init__(self, executor: Executor, counts: Any, *, here: Executor | None = None) -> None:
        self._executor, self._here = executor, here or executor
        self._counts = counts
        self._used = 0
        self.on_count: Callable[[], None] | None = None

    def counter(self) -> Counter:
        """A counter nobody uses yet."""
        self._used += 1
        return Counter(self._used - 1)

    def count(self, counter: Counter) -> int:
        """What a counter says."""
        return int(self._counts[counter.index])

    def set(self, counter: Counter, done: int) -> None:
        """Say what a counter says, of a job that is not running."""
        self._counts[counter.index] = done

    def submit(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a job."""
        _Counts.on_count = self.on_count if isinstance(self._executor, Inline) else None
        try:
            return self._executor.submit(job, *args, **kwargs)
        finally:
            _Counts.on_count = None

    def submit_here(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a job that reads and writes files of this machine."""
        if self._here is self._executor:
            return self.submit(job, *args, **kwargs)
        return self._here.submit(job, *args, **kwargs)

    def done(self, futures: Sequence[Future[T]]) -> Iterator[Future[T]]:
        """The futures as they are done; counts are looked at meanwhile. Raises what a job raised."""
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, timeout=_REFRESH_S, return_when=FIRST_COMPLETED)
            for future in finished:
                self.result(future)
                yield future
            if self.on_count is not None:
                self.on_count()

    def result(self, future: Future[T]) -> T:
        """What a job returned; counts are looked at while it runs. Raises what it raised."""
        while self.on_count is not None and not future.done():
            wait([future], timeout=_REFRESH_S)
            self.on_count()
        try:
            return future.result()
        except BrokenProcessPool as exc:
            raise TamiyoError(
                "a worker process was killed", hint="if memory ran out, use --workers 1; --resume goes on"
            ) from exc


def prepare() -> None:
    """Start the server that workers are forked from, if it does not run yet; returns at once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as it is while the server loads torch
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def crew_of(workers: Workers, *, jobs: int = 0) -> Iterator[Crew]:
    """A crew for at most so many counted jobs.

    When the block is left by an error or an interrupt, jobs in progress are ended at once.
    """
    if isinstance(workers, str):
        from tamiyo_train.cluster import cluster_crew

        with cluster_crew(workers, jobs=jobs) as crew:
            yield crew
    elif workers == 1:
        from tamiyo_train.seeding import one_thread

        with one_thread():
            count_in(array.array("q", bytes(8 * jobs)))
            yield Crew(Inline(), _Counts.counts)
    else:
        with forked(workers, jobs=jobs) as (executor, counts):
            yield Crew(executor, counts)


def held(workers: Workers) -> AbstractContextManager[None]:
    """Keeps what crews of these workers have in common from one to the next: the way to a cluster, if it is one."""
    if isinstance(workers, str):
        from tamiyo_train.cluster import connected

        return connected(workers)
    return contextlib.nullcontext()


@contextmanager
def forked(count: int, *, jobs: int) -> Iterator[tuple[Executor, Any]]:
    """So many processes of this machine, and the counts they share with this one, which keeps to one thread."""
    from tamiyo_train.seeding import one_thread

    prepare()
    context = multiprocessing.get_context("forkserver")
    counts: Any = context.RawArray("q", max(1, jobs))
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(max_workers=count, mp_context=context, initializer=_start, initargs=(counts,))
    try:
        with one_thread():
            yield executor, counts
    except BaseException:
        _end(set(multiprocessing.active_children()) - others)
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _end(processes: set[BaseProcess]) -> None:
    for process in processes:
        with contextlib.suppress(ValueError, ProcessLookupError):  # it has ended meanwhile
            process.terminate()


def _start(counts: Any) -> None:
    """What a worker does first. A Ctrl-C reaches the whole group: the parent answers it, and ends its workers."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    count_in(counts)


def count_in(counts: Any) -> None:
    """Counters of jobs in this process set their counts there, by index."""
    _Counts.counts = counts


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a pipe closes when the parent is gone, whatever became of it
        os._exit(1)
