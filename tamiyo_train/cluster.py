"""Work spread over the machines of a Ray cluster: the jobs of `pool`, behind the same crew, with the same results.

    this process    hands jobs in, keeps what they give, and draws up how far each has come
    a worker        checks that its machine is as this one, then does one job on one thread
    the board       an actor that workers tell their counts, a few times a second

A job travels as bytes and so does what it gives: Ray's own arrays cannot be written to. A job is a pure function, so
one whose worker was lost with its machine is done again elsewhere, which changes nothing but the time. What has to
write into the run's folder stays on this machine, in a process of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from tamiyo_runtime.contracts.errors import IncompatibleError, InputError, MissingExtraError, TamiyoError
from tamiyo_train.pool import RAY, Crew, count_in, forked

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 3
"""How often a job is begun whose worker is lost, before that is an error."""
_REFRESH_S = 0.2
_TELL_S = 0.5
_PATIENCE_S = 5.0
_GO_ON = "--resume goes on with what was kept"
_HINTS = {
    True: "start one here: ray start --head --disable-usage-stats --include-dashboard=false",
    False: "is it running, and its port open? if it wants a token: RAY_AUTH_MODE=token, and its ~/.ray/auth_token here",
}


def check_installed() -> None:
    """Raise MissingExtraError when Ray is not installed."""
    _ray()


@contextmanager
def connected(address: str) -> Iterator[None]:
    """This process belongs to a cluster for as long as the block lasts; one inside another changes nothing.

    Raises InputError when no cluster answers, IncompatibleError when it runs another Python or Ray.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings(action="ignore"):  # the error says it
            ray.init("auto" if address == RAY else address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as exc:
        raise _unanswered(address, exc) from exc
    except (RuntimeError, ray.exceptions.RayError) as exc:
        raise IncompatibleError(
            f"the Ray cluster cannot be used: {_line(exc)}", hint="the same Python and Ray on every machine"
        ) from exc
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own in its place
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def cluster_crew(address: str, *, jobs: int) -> Iterator[Crew]:
    """A crew of all the processors of a cluster for at most so many counted jobs; ended jobs leave nothing running."""
    with forked(1, jobs=jobs) as (here, counts), connected(address):
        executor = _Cluster(counts)
        try:
            yield Crew(executor, counts, here=here)
        finally:
            executor.shutdown()


class Board:
    """How far each job has come, as its worker told it last."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def tell(self, index: int, done: int) -> None:
        """So many steps of a job are done."""
        self._done[index] = done

    def read(self) -> dict[int, int]:
        """Everything that was told."""
        return self._done


class Told:
    """Counts as a worker keeps them: it tells the board what it sets, but not more than twice a second."""

    def __init__(self, tell: Callable[[int, int], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._told_s = float("-inf")

    def __setitem__(self, index: int, done: int) -> None:
        now_s = self._clock()
        if now_s - self._told_s >= _TELL_S:
            self._told_s = now_s
            self._tell(index, done)


def do(job: bytes, expected: Mapping[str, str], board: Any) -> bytes:
    """In a worker: do a pickled job; what it gave and what it raised, one of them None, come back pickled.

    What is raised is an IncompatibleError when this machine is not as ``expected``: its results would differ.
    """
    from tamiyo_train.seeding import one_thread

    count_in(Told(board.tell.remote))
    result, error = None, None
    try:
        _check(expected)
        function, args, kwargs = pickle.loads(job)  # noqa: S301  (from the driver of this cluster's job)
        with one_thread():
            result = function(*args, **kwargs)
    except Exception as exc:  # noqa: BLE001  (handed on to who asks for the result)
        error = exc
    return pickle.dumps((result, error))


def _check(expected: Mapping[str, str]) -> None:
    from tamiyo_train.fingerprint import fingerprint

    found = fingerprint()
    for name, value in expected.items():
        if found[name] != value:
            raise IncompatibleError(
                f"machine {platform.node()} of the cluster has {name} {found[name]}, not {value}: results would differ",
                hint="the same versions on every machine, and processors of one kind",
            )


@dataclass(frozen=True, slots=True)
class _Job:
    """A job that was handed in: its future, itself, and how often it was begun."""

    future: Future[Any]
    blob: bytes
    attempt: int = 1


class _Cluster(Executor):
    """Jobs on a cluster. One thread waits for them all and reads the board: Ray is never called from a callback."""

    def __init__(self, counts: Any) -> None:
        from tamiyo_train.fingerprint import fingerprint

        self._ray, self._counts = _ray(), counts
        self._expected = fingerprint()
        self._do = self._ray.remote(num_cpus=1, max_retries=0)(do)
        self._board = self._ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
        self._jobs: dict[Any, _Job] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._watch = threading.Thread(target=self._watched, name="ray-jobs", daemon=True)
        self._watch.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a job."""
        future: Future[T] = Future()
        self._begin(_Job(future, pickle.dumps((fn, args, kwargs))))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """End whatever is running."""
        self._over.set()
        self._watch.join()
        with contextlib.suppress(self._ray.exceptions.RayError, ConnectionError):
            for reference in self._jobs:
                self._ray.cancel(reference, force=True)
            self._ray.kill(self._board)

    def _begin(self, job: _Job) -> None:
        with self._lock:
            self._jobs[self._do.remote(job.blob, self._expected, self._board)] = job

    def _watched(self) -> None:
        while not self._over.is_set():
            with self._lock:
                waiting = list(self._jobs)
            if not waiting:
                self._over.wait(_REFRESH_S)
                continue
            try:
                ready, _ = self._ray.wait(waiting, timeout=_REFRESH_S)
                self._read_board()
            except (self._ray.exceptions.RayError, ConnectionError) as exc:
                self._fail(TamiyoError(f"the Ray cluster was lost: {_line(exc)}", hint=_GO_ON))
                return
            for reference in ready:
                self._settle(reference)

    def _settle(self, reference: Any) -> None:
        with self._lock:
            job = self._jobs.pop(reference)
        try:
            result, error = pickle.loads(self._ray.get(reference))  # noqa: S301  (what our own worker made)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError) as exc:
            if job.attempt < ATTEMPTS:
                self._begin(_Job(job.future, job.blob, job.attempt + 1))
                return
            result, error = None, _lost(exc, f"its worker was lost {ATTEMPTS} times")
        except self._ray.exceptions.OutOfMemoryError as exc:
            result, error = None, _lost(exc, "memory ran out on its machine")
        except self._ray.exceptions.RayTaskError as exc:  # not the job's, which `do` hands on: `do` cannot be loaded
            result, error = None, _unlike(exc)
        except Exception as exc:  # noqa: BLE001  (handed on to who asks for the result)
            result, error = None, _lost(exc, _line(exc))
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)

    def _read_board(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
            told = self._ray.get(self._board.read.remote(), timeout=_PATIENCE_S)
            for index, done in told.items():
                self._counts[index] = max(self._counts[index], done)

    def _fail(self, error: TamiyoError) -> None:
        with self._lock:
            jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.future.set_exception(error)


def _lost(exc: Exception, why: str) -> TamiyoError:
    error = TamiyoError(f"a job on the Ray cluster was lost: {why}", hint=_GO_ON)
    error.__cause__ = exc
    return error


def _unlike(exc: Any) -> IncompatibleError:
    error = IncompatibleError(
        f"a machine of the Ray cluster cannot do the job: {_line(exc.cause, -1)}",
        hint="install the same tamiyo-edge[train,ray] on every machine",
    )
    error.__cause__ = exc
    return error


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes: knock first, where an address is given."""
    given = os.environ.get("RAY_ADDRESS", "") if address == RAY else address
    host, _, port = given.removeprefix("ray://").rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
        except (OSError, ValueError) as exc:
            raise _unanswered(given, exc) from exc


def _unanswered(address: str, exc: Exception) -> InputError:
    return InputError(f"no Ray cluster answers at '{address}': {_line(exc)}", hint=_HINTS[address == RAY])


def _line(exc: BaseException, which: int = 0) -> str:
    """One line of what an error of Ray says, which may be pages."""
    lines = str(exc).strip().splitlines() or [type(exc).__name__]
    return lines[which]


def _ray() -> Any:
    try:
        import ray
    except ImportError as exc:
        raise MissingExtraError("ray", "ray") from exc
    return ray
