"""Lines from a serial port: ``serial:///dev/ttyUSB0?baud=115200``; 8 data bits, no parity, 1 stop bit, no flow control.

Through the system's own terminal interface, so it works where there is one: Linux, macOS. What comes before the first
line end is left out: we join in the middle of a line, and half a number is a number too.
"""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import IncompatibleError, InputError
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import sources
from tamiyo_runtime.sources.inbox import Drop
from tamiyo_runtime.sources.reader import LineStream
from tamiyo_runtime.sources.stdin import inbox_of

_BAUD = 115_200


@sources.register("serial")
class SerialSource:
    """Opens a serial port."""

    @staticmethod
    def open(bundle: Bundle, address: Address) -> LineStream:
        """A stream without an end; raises InputError when there is no such port, or not for us."""
        address.only("baud", "queue", "drop")
        path, baud = Path(address.body), address.whole("baud", _BAUD, low=50, high=4_000_000)
        _check(path, baud)
        inbox = inbox_of(address, f"serial://{path} at {baud} baud", drop=Drop.OLDEST)
        return LineStream(inbox, bundle.manifest.input, partial(SerialPort, path, baud), again=True, skip_first=True)


class SerialPort:
    """An open port, set up."""

    def __init__(self, path: Path, baud: int) -> None:
        """Open and set up; raises OSError."""
        import termios

        self._handle = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _, _, control, _, _, _, characters = termios.tcgetattr(self._handle)
            speed = getattr(termios, f"B{baud}")
            control &= ~(termios.PARENB | termios.CSTOPB | termios.CSIZE | getattr(termios, "CRTSCTS", 0))
            control |= termios.CS8 | termios.CREAD | termios.CLOCAL
            # No line editing, no translation of anything, no signals: bytes as they come.
            termios.tcsetattr(self._handle, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
            termios.tcflush(self._handle, termios.TCIFLUSH)
        except termios.error as exc:
            self.close()
            raise OSError(exc.args[0], f"cannot be set up: {exc.args[-1]}") from exc
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Its descriptor."""
        return self._handle

    def close(self) -> None:
        """Let go of it."""
        os.close(self._handle)


def _check(path: Path, baud: int) -> None:
    try:
        import termios
    except ImportError as exc:
        raise IncompatibleError(
            "serial ports are read through termios, which this system lacks", hint="pipe the port into --source stdin"
        ) from exc
    if not hasattr(termios, f"B{baud}"):
        known = sorted(int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit() and name != "B0")
        raise InputError(f"this system knows no speed of {baud} baud", hint=f"known: {', '.join(map(str, known))}")
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise InputError(
            f"no serial port {path}: {exc.strerror}", hint="ls /dev/tty* /dev/serial/by-id; write serial:///dev/ttyUSB0"
        ) from exc
    if not stat.S_ISCHR(mode):
        raise InputError(f"{path} is no serial port", hint="write serial:///dev/ttyUSB0")
    if not os.access(path, os.R_OK | os.W_OK):
        raise InputError(
            f"{path} may not be opened by this user", hint="sudo usermod -aG dialout $USER, and log in again"
        )
