"""A process in its steady state: memory after some seconds of samples, and what it takes of a core while it waits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What the kernel says of a process, over a stretch of time when it comes to ``cpu_share`` and ``wakeups_per_s``.

    Resident memory counts pages of libraries in full; ``anonymous_mib`` is what is the process's alone and cannot be
    dropped and read again.
    """

    resident_mib: float
    anonymous_mib: float
    cpu_share: float
    wakeups_per_s: float


def observe(command: Sequence[str], environment: dict[str, str], *, settle_s: float, over_s: float) -> Steady:
    """Start a process, let it settle, look at it, end it by SIGTERM; raises SystemExit when it did not run well."""
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(settle_s)
        if child.poll() is not None:
            raise SystemExit(f"ended early: {' '.join(command)}: {child.communicate()[1][-500:]}")
        folder, started_s = Path(f"/proc/{child.pid}"), time.monotonic()
        busy, woken = _ticks(folder), _switches(folder)
        time.sleep(over_s)
        elapsed_s = time.monotonic() - started_s
        memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE))
        steady = Steady(
            resident_mib=int(memory["Rss"]) / 1024,
            anonymous_mib=int(memory["Anonymous"]) / 1024,
            cpu_share=(_ticks(folder) - busy) / _TICKS_PER_S / elapsed_s,
            wakeups_per_s=(_switches(folder) - woken) / elapsed_s,
        )
        child.send_signal(signal.SIGTERM)
        _, stderr = child.communicate(timeout=60)
        if child.returncode != 0:
            raise SystemExit(f"exit {child.returncode}: {' '.join(command)}: {stderr[-500:]}")
        return steady
    finally:
        child.kill()
        child.wait()


def _ticks(folder: Path) -> int:
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _switches(folder: Path) -> int:
    """Voluntary context switches of all threads: how often something slept and was woken."""
    texts = [(task / "status").read_text() for task in (folder / "task").iterdir()]
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1]) for text in texts)
