"""Receiving many MQTT messages with few system calls: a buffered socket under paho, and a loop that serves it.

paho reads a packet in three calls of ``recv``, waits in ``select`` before each packet and sends every acknowledgement
alone. That is as much work as everything a collector does with a message. Here one ``recv`` fetches what there is, and
what is to be sent goes out together. The loop is paho's documented one for programs with a loop of their own
(``loop_read``, ``loop_write``, ``loop_misc``). One name is not documented, `_create_socket`: a paho without it gets a
plain socket and is as slow as before.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client

CHUNK = 1 << 16
PACKETS = 500
STRETCH_BYTES = 1 << 20
"""Read no more than about either before a turn is given, so that memory is bounded by whoever takes the turns."""


class BufferedSocket:
    """A connected socket, plain or TLS, that reads ahead and, between `cork` and `uncork`, gathers what is sent."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._ahead = b""
        self._at = 0
        self._unsent = bytearray()
        self._corked = False
        self.received_bytes = 0

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes; empty at the end of the stream; raises what the socket raises when there is nothing."""
        at = self._at
        if at == len(self._ahead):
            self._ahead, at = self._line.recv(CHUNK), 0
            self.received_bytes += len(self._ahead)
        self._at = at + size
        piece = self._ahead[at : self._at]
        if len(piece) < size:
            self._at = len(self._ahead)
        return piece

    def pending(self) -> int:
        """Bytes that can be read without asking the system."""
        return len(self._ahead) - self._at

    def send(self, data: bytes) -> int:
        """Send, or keep until `uncork`."""
        if self._corked or self._unsent:
            self._unsent += data
            return len(data)
        return self._line.send(data)

    def cork(self) -> None:
        """From now on, gather."""
        self._corked = True

    def uncork(self) -> None:
        """Send what was gathered, as far as the socket takes it; the next call goes on. Raises OSError."""
        self._corked = False
        try:
            while self._unsent:
                del self._unsent[: self._line.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass

    @property
    def unsent(self) -> bool:
        """Whether something waits for the socket."""
        return bool(self._unsent)

    def close(self) -> None:
        """Send what can be sent, and close."""
        with contextlib.suppress(OSError):
            self.uncork()
        self._line.close()

    def fileno(self) -> int:
        """For ``select``."""
        return self._line.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._line, name)


class BulkClient(Client):
    """paho's client on a `BufferedSocket`. Only `serve` may be its loop."""

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())  # type: ignore[no-untyped-call, arg-type, unused-ignore]


def serve(client: Client, turn: Callable[[bool], float]) -> None:
    """The loop of a connected client until the connection ends.

    ``turn`` is called after everything at hand has been read, and told whether nothing was; what it publishes and
    acknowledges goes out together. It returns how long to wait for more at most, s. One more turn is the last thing.
    """
    client.on_socket_register_write = lambda *_: None  # tells paho to queue, and leave the writing to a loop
    wait_s = 0.0
    try:
        while (line := client.socket()) is not None:
            buffered = line if isinstance(line, BufferedSocket) else None
            writes = client.want_write() or (buffered is not None and buffered.unsent)
            try:
                readable, _, _ = select.select([line], [line] if writes else [], [], wait_s)
            except (OSError, ValueError, TypeError):  # closed under us
                client.loop_misc()
                return
            quiet = not readable and not (buffered and buffered.pending())
            if not quiet and not _read(client, buffered):
                return
            wait_s = turn(quiet)
            if not _write(client, buffered) or client.loop_misc():
                return
            if buffered is not None and buffered.pending():
                wait_s = 0.0
    finally:
        turn(True)


def _read(client: Client, line: BufferedSocket | None) -> bool:
    """Read packets as long as some are at hand; False when the connection is over."""
    enough_bytes = line.received_bytes + STRETCH_BYTES if line else 0
    for _ in range(PACKETS):
        if client.loop_read():
            return False
        if line is None or not line.pending() or line.received_bytes >= enough_bytes:
            break
    return True


def _write(client: Client, line: BufferedSocket | None) -> bool:
    """Send what is queued in as few calls as possible; False when the connection is over."""
    if line is None:
        return not client.loop_write()
    line.cork()
    failed = client.loop_write()
    try:
        line.uncork()
    except OSError:
        client.loop_read()  # which finds the connection broken, and says so to everybody
        return False
    return not failed
