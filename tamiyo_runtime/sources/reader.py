"""A stream of lines from a file descriptor: standard input, a socket, a serial port.

A thread waits in the kernel until there are bytes, or until the stream is closed, which it learns through a pipe of its
own; nothing polls. Where the other side can come back it is dialled again, after waits that grow and are spread by
chance, so that a fleet does not come back in step.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import threading
from collections.abc import Callable
from typing import Protocol

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.sources.base import Intake, Loss, Sample
from tamiyo_runtime.sources.inbox import FlawError, Inbox
from tamiyo_runtime.sources.lines import LineSplitter, line_limit, parse_line
from tamiyo_runtime.transport.connection import backoff_s

_CHUNK_BYTES = 1 << 16
_JOIN_S = 1.0
BACKOFF_CAP_S = 30.0


class Channel(Protocol):
    """Something open to read from."""

    def fileno(self) -> int:
        """Its descriptor."""

    def close(self) -> None:
        """Let go of it."""


class LineStream:
    """A `Stream` of lines. ``dial`` opens the channel and may raise OSError; ``again``: dial anew when it ends."""

    live = True

    def __init__(
        self,
        inbox: Inbox,
        spec: InputSpec,
        dial: Callable[[], Channel],
        *,
        again: bool,
        skip_first: bool = False,
        backoff_cap_s: float = BACKOFF_CAP_S,
    ) -> None:
        self.label = inbox.label
        self._inbox, self._spec, self._dial = inbox, spec, dial
        self._again, self._skip_first, self._backoff_cap_s = again, skip_first, backoff_cap_s
        self._stopping = threading.Event()
        self._wake_in, self._wake_out = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"source {self.label}", daemon=True)
        self.take: Callable[[float], Sample | None] = inbox.take
        self.ended: Callable[[], bool] = inbox.ended
        self.intake: Callable[[], Intake] = inbox.intake

    def start(self) -> None:
        """Begin to read, in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._wake_out, b"x")
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        if not self._thread.is_alive():  # else it is still dialling, and will want to look at the pipe
            os.close(self._wake_in)
            os.close(self._wake_out)

    def _run(self) -> None:
        rng = random.Random()  # noqa: S311 - spreads reconnects, guards nothing
        failures = 0
        while not self._stopping.is_set():
            try:
                with contextlib.closing(self._dial()) as channel:
                    self._inbox.tell("connected")
                    failures = 0 if self._serve(channel) else failures
                self._inbox.tell("ended" if not self._again else "disconnected")
            except OSError as exc:
                self._inbox.tell(f"not connected: {exc.strerror or exc}")
            if not self._again:
                break
            self._stopping.wait(backoff_s(failures, rng, cap_s=self._backoff_cap_s))
            failures += 1
        self._inbox.finish()

    def _serve(self, channel: Channel) -> bool:
        """Read to the end; whether anything came."""
        splitter = LineSplitter(line_limit(self._spec), skip_first=self._skip_first)
        poll, handle, anything = select.poll(), channel.fileno(), False
        poll.register(handle, select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        while not self._stopping.is_set():
            poll.poll()
            if self._stopping.is_set():
                break
            try:
                data = os.read(handle, _CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError as exc:  # reset by the peer, or the adapter was pulled out
                self._inbox.tell(f"disconnected: {exc.strerror}")
                data = b""
            if not data:
                self._end(splitter)
                break
            anything = True
            for line in splitter.feed(data):
                self._take_in(line)
        return anything

    def _end(self, splitter: LineSplitter) -> None:
        """Of a file the last line may lack its end; on a wire that means it was cut off."""
        rest = splitter.finish()
        if rest is not None and self._again:
            self._inbox.refuse(FlawError(Loss.CUT_OFF, "the connection ended in the middle of a line"), rest)
        elif rest is not None:
            self._take_in(rest)

    def _take_in(self, line: bytes | None) -> None:
        if line is None:
            limit = line_limit(self._spec)
            self._inbox.refuse(FlawError(Loss.TOO_LONG, f"it is longer than {limit} bytes"))
            return
        try:
            sample = parse_line(line, self._spec)
        except FlawError as flaw:
            self._inbox.refuse(flaw, line)
        else:
            self._inbox.put(sample)
