"""Word to the service manager: ready, alive, how it stands, stopping. The protocol is sd_notify(3) of systemd.

A datagram of ``NAME=VALUE`` lines to the socket named by ``NOTIFY_SOCKET``. The watchdog is fed from the session's own
loop, so that an inference which hangs is noticed and the service is started again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, MutableMapping

_STATUS_EVERY_S = 5.0
_SHARE = 0.25  # of the watchdog's time between two signs of life; systemd advises half


class Notifier:
    """Tells the manager that started us. A manager that is gone or deaf changes nothing for the run."""

    def __init__(self, address: str, *, watchdog_s: float | None = None) -> None:
        """``address``: path of the socket, or ``@name`` for an abstract one."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._feed_every_s = None if watchdog_s is None else watchdog_s * _SHARE
        self._ready = False
        self._next_feed_s = self._next_status_s = float("-inf")

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str] | None = None) -> Notifier | None:
        """The notifier that the manager asks for, or None. Its variables are taken out: children must not see them."""
        variables = os.environ if environment is None else environment
        address = variables.pop("NOTIFY_SOCKET", "")
        watchdog_s = _watchdog_s(variables)
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            variables.pop(name, None)
        return cls(address, watchdog_s=watchdog_s) if address[:1] in {"/", "@"} and len(address) > 1 else None

    def turn(self, now_s: float, status: Callable[[], str]) -> None:
        """A sign of life from the loop: the first says that we are ready. ``status`` is asked every five seconds."""
        lines = []
        if not self._ready:
            lines.append("READY=1")
        if self._feed_every_s is not None and now_s >= self._next_feed_s:
            self._next_feed_s = now_s + self._feed_every_s
            lines.append("WATCHDOG=1")
        if now_s >= self._next_status_s:
            self._next_status_s = now_s + _STATUS_EVERY_S
            lines.append(f"STATUS={' '.join(status().split())}")
        if lines and self.send(*lines):
            self._ready = True

    def stopping(self) -> None:
        """We are about to end, and it may take a while: records are on their way."""
        self.send("STOPPING=1", "STATUS=delivering what was recorded")

    def send(self, *lines: str) -> bool:
        """One datagram; whether it could be left with the manager, which may be gone, or have too many to read."""
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _watchdog_s(variables: Mapping[str, str]) -> float | None:
    """How often the manager wants to hear of us, if it is us that it means."""
    for_us = variables.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
    text = variables.get("WATCHDOG_USEC", "")
    return int(text) * 1e-6 if for_us and text.isdigit() and int(text) > 0 else None
