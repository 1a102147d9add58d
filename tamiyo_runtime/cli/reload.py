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
from typing import Any

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.control import Change
from tamiyo_runtime.summary import Turn


class Reload:
    """A `Control`. ``load`` opens what is to run; ``tell`` hears why it does not."""

    def __init__(self, load: Callable[[], Change], tell: Callable[[str], None]) -> None:
        self._load, self._tell = load, tell
        self._done: SimpleQueue[Change | str] = SimpleQueue()
        self._wanted = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)

    def poll(self, turn: Turn) -> Change | None:
        """The bundle, once it is loaded."""
        try:
            found = self._done.get_nowait()
        except Empty:
            return None
        if isinstance(found, Change):
            return found
        self._tell(found)
        return None

    def refused(self, change: Change, problem: str) -> None:
        """It does not fit this run."""
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

    def _work(self) -> None:
        while self._wanted.wait() and not self._closing:
            self._wanted.clear()
            try:
                self._done.put(self._load())
            except TamiyoError as exc:
                self._done.put(exc.message)
            except Exception as exc:  # noqa: BLE001  a file that cannot be loaded, however, must not end the run
                self._done.put(f"{type(exc).__name__}: {exc}")
