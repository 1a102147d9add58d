"""``kill -HUP`` to a ``tamiyo run BUNDLE``: the file is opened again and takes over between two samples.

What is slow, opening, the canary, loading, warming up, is done in a thread of its own while the old bundle runs on. A
file that is refused changes nothing, and is told.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli.render import note
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.records import Event, EventRecord
from tamiyo_runtime.control import Change, Loaded
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.installed import check_version, record_version
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.summary import Turn

if TYPE_CHECKING:
    from tamiyo_runtime.cli.field import FieldRun
    from tamiyo_runtime.contracts.budget import Budget
    from tamiyo_runtime.reporter import Reporter


class Reload:
    """A `Control`. ``load`` opens what is to run; ``tell`` hears why it does not.

    ``taken`` hears, in a thread of its own, what has run for a whole turn and was not refused.
    """

    def __init__(
        self, load: Callable[[], Change], tell: Callable[[str], None], taken: Callable[[Change], None]
    ) -> None:
        self._load, self._tell, self._taken = load, tell, taken
        self._given: Change | None = None
        self._done: SimpleQueue[Change | str] = SimpleQueue()
        self._wanted = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)

    def poll(self, turn: Turn) -> Change | None:
        """The bundle, once it is loaded."""
        self._settle()
        try:
            found = self._done.get_nowait()
        except Empty:
            return None
        if isinstance(found, Change):
            self._given = found
            return found
        self._tell(found)
        return None

    def refused(self, change: Change, problem: str) -> None:
        """It does not fit this run."""
        self._given = None
        self._tell(problem)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Reload]:
        """Hear SIGHUP while the block runs; from the main thread."""
        before: Any = signal.signal(signal.SIGHUP, lambda *_: self._wanted.set())
        self._thread.start()
        try:
            yield self
        finally:
            signal.signal(signal.SIGHUP, before)
            self._closing = True
            self._wanted.set()
            self._settle()

    def _settle(self) -> None:
        if self._given is not None:
            threading.Thread(target=self._taken, args=(self._given,), name="reloaded").start()  # it writes to a disk
            self._given = None

    def _work(self) -> None:
        while self._wanted.wait() and not self._closing:
            self._wanted.clear()
            try:
                self._done.put(self._load())
            except TamiyoError as exc:
                self._done.put(exc.message)
            except Exception as exc:  # noqa: BLE001  a file that cannot be loaded, however, must not end the run
                self._done.put(f"{type(exc).__name__}: {exc}")


def reload_of(field: FieldRun, again: Callable[[], tuple[Bundle, Budget | None]], reporter: Reporter) -> Reload:
    """The `Reload` of a run; ``again`` opens its file, ``reporter`` is told what was refused."""

    def load() -> Change:
        """Checked like the first one, loaded and warm."""
        bundle, budget = again()
        request = field.request
        if not request.allow_downgrade:
            check_version(bundle)
        if field.gate is not None:
            field.gate(bundle)
        executor = Executor(bundle, request.variant)
        policy = Policy.of(bundle, executor.variant.format) if request.use_policy else None
        return Change(loaded=Loaded(bundle=bundle, executor=executor, policy=policy), budget=budget)

    def tell(problem: str) -> None:
        note(f"warning: not reloaded: {problem}")
        detail = problem.encode()[:64].decode(errors="ignore")
        t_ms = int(field.board.clock.now_s() * 1e3)
        reporter.event(EventRecord(t_ms=t_ms, event=Event.RELOAD, value=0, detail=detail))

    return Reload(load, tell, _remember)


def _remember(change: Change) -> None:
    """Write down which version runs now: not before, or one that was refused would keep the one that runs from it."""
    assert change.loaded is not None
    try:
        record_version(change.loaded.bundle)
    except TamiyoError as exc:
        note(f"warning: {exc.message}")
