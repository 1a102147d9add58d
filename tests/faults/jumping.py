"""Runs a module under a wall clock that jumps: ``python -m tests.faults.jumping OFFSET_FILE MODULE [ARGUMENT ...]``.

The file holds the seconds by which the clock is wrong, and may be replaced at any time. Every clock of Python's `time`
that shows the time of day is wrong by as much; monotonic clocks and sleeps are left alone, as a real jump does. (With
libfaketime 0.9.10 a process that leaves the monotonic clock alone cannot sleep: its ``clock_nanosleep`` fails.)
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def offset_s(file: Path) -> float:
    """Asked for by whoever wants to know the time, and written down: a clock that nobody reads proves nothing."""
    text = file.read_text()
    with seen_by(file).open("a") as seen:
        seen.write(f"{text}\n")
    return float(text)


def seen_by(file: Path) -> Path:
    """Where the offsets are that were read."""
    return file.with_suffix(".seen")


def jump(file: Path, seconds: float) -> None:
    """In one step: a file that is half written would be another time."""
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{seconds:+f}")
    fresh.replace(file)


def bend(file: Path) -> None:
    """From now on this process has the wrong time."""
    real_time, real_time_ns, real_gettime = time.time, time.time_ns, time.clock_gettime
    real_gettime_ns = time.clock_gettime_ns
    time.time = lambda: real_time() + offset_s(file)
    time.time_ns = lambda: real_time_ns() + int(offset_s(file) * 1e9)
    time.clock_gettime = lambda clock: real_gettime(clock) + (offset_s(file) if clock == time.CLOCK_REALTIME else 0.0)
    time.clock_gettime_ns = lambda clock: (
        real_gettime_ns(clock) + (int(offset_s(file) * 1e9) if clock == time.CLOCK_REALTIME else 0)
    )


if __name__ == "__main__":
    bend(Path(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
