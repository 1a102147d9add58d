"""The two ends of a run's telemetry as a user sees them: is the broker there, and what is still sent at the end.

Nothing here loses a record: what is not delivered stays in the spool and goes out after the next start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.cli.render import note
from tamiyo_runtime.contracts.units import plural
from tamiyo_runtime.meters import Clock, VirtualClock

if TYPE_CHECKING:
    from tamiyo_runtime.telemetry import Telemetry

ANSWER_S = 1.0
"""A run that a person watches waits so long for the broker, really, to say at the start that it does not answer."""
AWAY_S = 3.0
"""Once the samples are done, a broker that has been away for so long, really, is not waited for any more."""
FLUSH_S = 15.0
_FLUSH_VIRTUAL_S = 6 * 3600.0  # the radio's duty cycle may hold the last frames back that long
_SILENT_S = 1.0  # what takes no longer needs no words


def look_for_broker(telemetry: Telemetry, url: str, spool: Path, *, patience_s: float = ANSWER_S) -> None:
    """Warn, once, of a broker that does not answer in time; a service does not wait to find out."""
    if "NOTIFY_SOCKET" in os.environ:
        return
    deadline_s = time.monotonic() + patience_s
    while not telemetry.transport.connected():
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            why = telemetry.trouble() or "not connected yet"
            note(
                f"warning: the broker {url} does not answer ({why}); records are kept in {spool} and sent when it "
                "does, in this run or after a later start"
            )
            return
        telemetry.transport.wait(left_s)


class _Patience:
    """How long delivery goes on: until a signal says enough, or the broker has been away for `AWAY_S`."""

    def __init__(self, telemetry: Telemetry, tell: Callable[[str], None], *, limit: str) -> None:
        self._telemetry, self._tell, self._limit = telemetry, tell, limit
        self._begun_s = time.monotonic()
        self._away_since_s: float | None = None
        self._told = self._enough = False

    def stop(self) -> None:
        """Enough."""
        self._enough = True

    def lasts(self) -> bool:
        """Whether to go on; asked between two tries. What takes longer is announced."""
        now_s = time.monotonic()
        connected = self._telemetry.transport.connected()
        if connected:
            self._away_since_s = None
        elif self._away_since_s is None:
            self._away_since_s = now_s
        if not self._told and now_s - self._begun_s >= _SILENT_S:
            self._told = True
            count = self._telemetry.waiting
            waiting = f"{plural(count, 'record')} {'waits' if count == 1 else 'wait'}"
            doing = f"{waiting} for the collector" if connected else f"{waiting} for a broker that does not answer"
            limit = self._limit if connected else f"{AWAY_S:g} s"
            self._tell(f"{doing}: trying for up to {limit}; Ctrl-C leaves them in the spool for the next start")
        away = self._away_since_s is not None and now_s - self._away_since_s >= AWAY_S
        return not (self._enough or away)


def deliver(telemetry: Telemetry, clock: Clock, tell: Callable[[str], None]) -> bool:
    """Send what is left, for a bounded time that a signal can shorten; whether a collector has stored all of it."""
    virtual = isinstance(clock, VirtualClock)
    limit_s, limit = (_FLUSH_VIRTUAL_S, "6 simulated hours") if virtual else (FLUSH_S, f"{FLUSH_S:g} s")
    patience = _Patience(telemetry, tell, limit=limit)
    with ended_by_signals(patience.stop):
        return telemetry.flush(clock.now_s(), limit_s, go_on=patience.lasts)


@contextlib.contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and the first SIGINT ask for an orderly end; a second SIGINT interrupts as usual."""

    def on_signal(number: int, _frame: object) -> None:
        stop()
        signal.signal(number, before[number])

    before: Mapping[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
