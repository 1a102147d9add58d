"""Runs an `Agent` beside the loop, in a thread of its own, since a disk may take its time and a loop has none."""

from __future__ import annotations

import threading
import time

from tamiyo_runtime.update.agent import Agent

_IDLE_S = 0.25
_BUSY_S = 0.02
_CLOSE_S = 10.0


class AgentThread:
    """Steps an agent until it is closed. ``failure``: the last exception that no step should have, None without one."""

    def __init__(self, agent: Agent) -> None:
        self.failure: str | None = None
        self._agent = agent
        self._ending = threading.Event()
        self._wake = threading.Event()
        self._nudged = False
        self._thread = threading.Thread(target=self._run, name="update", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once, and try again what waits. Safe to call from a signal handler."""
        self._nudged = True
        self._wake.set()

    def close(self) -> bool:
        """End after the present step; whether it ended in time. One that tests a bundle is left behind: it is daemonic,
        and what it had not committed is done again after the next start."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        return not self._thread.is_alive()

    def crashed(self, reason: str) -> bool:
        """End, then see `Agent.crashed`."""
        return self.close() and self._agent.crashed(reason, time.monotonic())

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                if self._nudged:
                    self._nudged = False
                    self._agent.nudge()
                self._agent.step(time.monotonic())
            except Exception as exc:  # noqa: BLE001  the run must go on, whatever becomes of an update
                self.failure = f"{type(exc).__name__}: {exc}"
                self._ending.wait(1.0)
            self._wake.wait(_BUSY_S if self._agent.fetching else _IDLE_S)
            self._wake.clear()
