"""Work spread over processes, with the same results whatever their number.

Each job is a pure function of its argument, runs torch on one thread, and is collected in the order it was handed in.
Workers are forked from a clean server process that has torch loaded already, so that starting them is cheap and safe.
Nothing here loads torch at import: the server can be started first and load it while this process does.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_PRELOAD = ["tamiyo_train.jobs", "sklearn.datasets", "torch._dynamo"]
"""What the server loads (the first optimiser of a process would load the last one, for two seconds).

A module that is not installed is skipped, and missed where it is used.
"""


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


def prepare() -> None:
    """Start the server that workers are forked from, if it does not run yet; returns at once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)
    forkserver.ensure_running()


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """An executor of that many processes; one means this process."""
    from tamiyo_train.seeding import one_thread

    if count == 1:
        with one_thread():
            yield Inline()
        return
    prepare()
    context = multiprocessing.get_context("forkserver")
    executor = ProcessPoolExecutor(max_workers=count, mp_context=context, initializer=_start)
    try:
        with one_thread():
            yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start() -> None:
    import torch

    torch.set_num_threads(1)
