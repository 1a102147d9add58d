"""What a Raspberry Pi's firmware says of voltage and heat.

``get_throttled`` is a number of flags: bits 0 to 3 hold now, bits 16 to 19 held at some time since the start. It is a
file of the firmware's driver, or the answer of the program ``vcgencmd``. Source: Raspberry Pi documentation, vcgencmd.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tamiyo_runtime.meters.ports import Throttling
from tamiyo_runtime.meters.pseudo import PseudoFile

FLAGS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_SINCE_START = 16
_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_PROGRAM_EVERY_S = 10.0  # starting a program takes ten milliseconds or more
_PROGRAM_TIMEOUT_S = 1.0


def decode(bits: int) -> Throttling:
    """Flags of the firmware's number."""
    return Throttling(
        now=tuple(name for bit, name in enumerate(FLAGS) if bits >> bit & 1),
        since_start=tuple(name for bit, name in enumerate(FLAGS) if bits >> (bit + _SINCE_START) & 1),
    )


def parse(text: str | None) -> Throttling | None:
    """``50005``, ``0x50005`` or ``throttled=0x50005``; the file's number is hexadecimal without a prefix."""
    try:
        return decode(int((text or "").strip().rpartition("=")[2], 16))
    except ValueError:
        return None


class ThrottledFile:
    """The firmware driver's file; a `ThrottleGauge`."""

    def __init__(self, path: Path) -> None:
        """Open it; raises OSError."""
        self.label = str(path)
        self._file = PseudoFile(path)

    def read(self) -> Throttling | None:
        """Flags now."""
        return parse(self._file.text())


class Vcgencmd:
    """The program, asked every ten seconds at the most; a `ThrottleGauge`."""

    def __init__(
        self, program: str, *, now_s: Callable[[], float] = time.monotonic, every_s: float = _PROGRAM_EVERY_S
    ) -> None:
        self.label = f"{program} get_throttled"
        self._program, self._now_s, self._every_s = program, now_s, every_s
        self._next_s = float("-inf")
        self._last: Throttling | None = None

    def read(self) -> Throttling | None:
        """Flags, up to ten seconds old."""
        if self._now_s() >= self._next_s:
            self._last = self._ask()
            self._next_s = self._now_s() + self._every_s
        return self._last

    def _ask(self) -> Throttling | None:
        command = [self._program, "get_throttled"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PROGRAM_TIMEOUT_S, check=False)  # noqa: S603  a fixed command
        except (OSError, subprocess.TimeoutExpired):
            return None
        return parse(done.stdout.decode("ascii", "replace")) if done.returncode == 0 else None


def find_throttle(root: Path) -> ThrottledFile | Vcgencmd | None:
    """The firmware's flags, where there is such a firmware. The program is asked about this machine only."""
    try:
        gauge = ThrottledFile(root / _FILE)
    except OSError:
        pass
    else:
        if gauge.read() is not None:
            return gauge
    program = shutil.which("vcgencmd") if root == Path("/") else None
    if program is not None:
        asked = Vcgencmd(program)
        if asked.read() is not None:
            return asked
    return None
