"""Starts a command again when it crashes: a small process beside the one that may die.

It loads no interpreter, no numpy and no bundle; what could kill the child is nothing that it touches. It waits longer
after every crash and gives up after `Rules.give_up` of them without a healthy run in between. Exit codes 0 and 2 to 6
are final, since trying again mends none of what they say. Signals go to the child. To the child it is a service
manager: it gets the words of sd_notify(3) (`tamiyo_runtime.service`), kills a child that stopped to feed the watchdog,
and hands on to a manager of its own what that must know.

Where systemd runs a unit, systemd is the supervisor, and this is not needed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tamiyo_runtime.files import folder_in_memory
from tamiyo_runtime.service import Notifier

_FINAL = frozenset({0, 2, 3, 4, 5, 6, 130})
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_TURN_S = 0.25
_STOP_S = 45.0  # from the first signal to stop until the child is killed: it delivers what it has recorded
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When to start again. ``healthy_s``: a run this long makes earlier crashes not count."""

    first_wait_s: float = 1.0
    most_wait_s: float = 60.0
    healthy_s: float = 300.0
    give_up: int = 10
    watchdog_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What follows an end: ``wait_s`` until the next start, None for the last; ``crashes``: in a row, this one too."""

    crashes: int
    wait_s: float | None


def after(code: int, ran_s: float, crashes: int, rules: Rules) -> Next:
    """Decide what follows when a child has ended with ``code`` (negative: a signal) after ``crashes`` in a row."""
    if code in _FINAL:
        return Next(crashes=0, wait_s=None)
    crashes = 1 if ran_s >= rules.healthy_s else crashes + 1
    if crashes >= rules.give_up:
        return Next(crashes=crashes, wait_s=None)
    return Next(crashes=crashes, wait_s=min(rules.most_wait_s, rules.first_wait_s * 2.0 ** (crashes - 1)))


def how_it_ended(code: int) -> str:
    """In words: ``exit code 1``, ``signal SIGSEGV``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """Told of every crash. ``wait_s`` None: the child is given up."""

    how: str
    ran_s: float
    crashes: int
    wait_s: float | None


class Supervisor:
    """Runs one command, again and again. Build it, call `run` once, from the main thread."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        on_crash: Callable[[Crash], None],
        rules: Rules | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``command``: program and arguments. ``on_crash`` is told of every crash before the wait that follows."""
        self._command = list(command)
        self._on_crash = on_crash
        self._rules = rules or Rules()
        self._environment = dict(os.environ if environment is None else environment)
        self._child: subprocess.Popen[bytes] | None = None
        self._stop_s: float | None = None
        self._ready = False  # to the manager: once and for all
        self._fed_s: float | None = None
        self._hung = False

    def run(self) -> int:
        """Supervise until the end; returns the exit code: the child's last, 1 when it was given up."""
        asked = float(self._environment.get("WATCHDOG_USEC", "0") or 0) * 1e-6
        self._watchdog_s = asked or self._rules.watchdog_s
        self._manager = Notifier.of_environment(self._environment)
        with self._ears() as ears, self._signals():
            crashes = 0
            while True:
                started_s = time.monotonic()
                code = self._life(ears)
                if self._stop_s is not None:
                    return code if code >= 0 else 0 if -code in {signal.SIGTERM, signal.SIGINT} else 1
                ran_s = time.monotonic() - started_s
                follows = after(code, ran_s, crashes, self._rules)
                crashes = follows.crashes
                if not crashes:
                    return code
                how = f"{how_it_ended(code)}{', after it hung' if self._hung else ''}"
                self._on_crash(Crash(how=how, ran_s=ran_s, crashes=crashes, wait_s=follows.wait_s))
                if follows.wait_s is None:
                    return 1
                if not self._wait(follows.wait_s, how):
                    return 0

    def _life(self, ears: socket.socket) -> int:
        """One child from start to end."""
        self._fed_s, self._hung = None, False
        environment = {**self._environment, "NOTIFY_SOCKET": ears.getsockname()}
        environment["WATCHDOG_USEC"] = str(round(self._watchdog_s * 1e6))
        self._child = subprocess.Popen(  # noqa: S603  our own command line again
            self._command,
            env=environment,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  this process has one thread
        )
        with self._child as child:
            if self._stop_s is not None:  # the signal came while there was no child yet to hand it on to
                child.terminate()
            while child.poll() is None:
                if select.select([ears], [], [], _TURN_S)[0]:
                    self._heard(ears.recv(4096))
                self._judge(child)
        self._child = None
        return child.returncode

    def _judge(self, child: subprocess.Popen[bytes]) -> None:
        """Kill what hangs, and what does not stop."""
        now_s = time.monotonic()
        if self._stop_s is not None and now_s - self._stop_s > _STOP_S:
            child.kill()
        elif self._fed_s is not None and now_s - self._fed_s > self._watchdog_s and not self._hung:
            self._hung = True
            child.kill()  # SIGABRT would have to be handled by what does not handle anything any more

    def _heard(self, datagram: bytes) -> None:
        """A word from the child: keep what is for us, hand on what is for the manager."""
        lines = datagram.decode(errors="replace").splitlines()
        if "READY=1" in lines or "WATCHDOG=1" in lines:
            self._fed_s = time.monotonic()
        if "STOPPING=1" in lines:
            self._fed_s = None  # delivering may take longer than the watchdog's time
        kept = [line for line in lines if line.startswith(("STATUS=", "WATCHDOG=1"))]
        if "READY=1" in lines and not self._ready:
            self._ready = True
            kept.insert(0, "READY=1")
        self._tell(*kept)

    def _wait(self, wait_s: float, how: str) -> bool:
        """Until the next start, alive to the manager; False when there is to be none."""
        until_s = time.monotonic() + wait_s
        self._tell(f"STATUS={how}; starts again in {wait_s:g} s")
        while self._stop_s is None and (left_s := until_s - time.monotonic()) > 0:
            self._tell("WATCHDOG=1")
            time.sleep(min(_TURN_S, left_s))
        return self._stop_s is None

    def _tell(self, *lines: str) -> None:
        if lines and self._manager is not None:
            self._manager.send(*lines)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            if self._stop_s is None:
                self._tell("STOPPING=1")
                self._stop_s = time.monotonic()
            if number == signal.SIGINT and os.isatty(0):
                return  # the terminal has sent it to the child as well, which counts them
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in (*_FORWARDED, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _ears(self) -> Iterator[socket.socket]:
        """The socket that the child reports to, in a folder that only we can enter."""
        with (
            tempfile.TemporaryDirectory(prefix="tamiyo-", dir=folder_in_memory()) as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ears,
        ):
            ears.bind(str(Path(folder) / "notify"))
            yield ears


def _die_with_parent() -> None:
    """In the child: do not outlive a supervisor that was killed, or there will be two of us after its next start."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
