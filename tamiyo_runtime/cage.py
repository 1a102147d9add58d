"""A process of its own for what may die: little memory, little time, no new rights, no network where that can be had.

`run` starts ``python -m MODULE`` with a request on its standard input and reads lines from it until it ends or its time
is up; `confine` is what the module calls before it does anything else. Standard library only. The cage bounds accidents
and crashes. Code that takes over the process can still read what the user may read, and say what it likes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_OUTPUT_BYTES = 1 << 20
_STDERR_BYTES = 1 << 16
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # <linux/prctl.h>
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ")  # of the environment: what a dynamic linker may need


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caged process may take. The defaults fit a bundle of the largest size with room to spare.

    ``memory_bytes``: private writable memory (RLIMIT_DATA), which is what costs RAM. Python, numpy, LiteRT and ONNX
    Runtime with a bundle of a few graphs hold 81 MiB of it on x86-64. ``address_bytes``: all that is mapped, files and
    libraries too (RLIMIT_AS), 207 MiB for the same. ``cpu_s``: of processor; ``wall_s``: until it is killed.
    """

    memory_bytes: int = 512 << 20
    address_bytes: int = 1 << 30
    cpu_s: int = 60
    wall_s: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a caged process ended. ``returncode``: negative for a signal; ``error``: last line of its standard error."""

    lines: tuple[str, ...]
    returncode: int
    timed_out: bool = False
    flooded: bool = False
    error: str = ""

    def death(self, limits: Limits) -> str | None:
        """What became of the process, as the rest of a sentence; None when it ended as it should."""
        if self.timed_out:
            return f"did not end within {limits.wall_s:g} s"
        if self.flooded:
            return f"wrote more than {MAX_OUTPUT_BYTES} bytes"
        if self.returncode == -signal.SIGXCPU:
            return f"used more than {limits.cpu_s} s of processor time"
        if self.returncode == -signal.SIGKILL:
            return "was killed (SIGKILL), as the system does when memory runs out"
        if self.returncode < 0:
            return f"ended with signal {signal_name(-self.returncode)}"
        return f"ended with exit code {self.returncode}" if self.returncode else None


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; the number itself where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def run(module: str, request: Mapping[str, Any], limits: Limits | None = None) -> End:
    """Run a module of ours in a cage and wait for its end. ``request`` is JSON-ready; the limits travel with it."""
    limits = limits or Limits()
    command = [sys.executable, "-B", "-P", "-m", module]
    process = subprocess.Popen(  # noqa: S603  our own module; nothing of the request is on the command line
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )
    assert process.stdin is not None
    deadline_s = time.monotonic() + limits.wall_s
    with process:
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps({**request, "limits": asdict(limits)}).encode())
                process.stdin.close()
            out, error, in_time = _read(process, deadline_s)
            flooded = len(out) > MAX_OUTPUT_BYTES
            if in_time and not flooded:
                in_time = _ended(process, deadline_s)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
            process.wait()
    lines = tuple(out.decode(errors="replace").splitlines())
    last = error.decode(errors="replace").strip().splitlines()[-1:]
    return End(
        lines=lines,
        returncode=process.returncode,
        timed_out=not in_time,
        flooded=flooded,
        error=printable(last[0]) if last else "",
    )


def printable(text: str, limit: int = 300) -> str:
    """One line that a terminal may be shown, whatever a hostile file put into it."""
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in line)[:limit]


def confine(limits: Limits) -> tuple[str, ...]:
    """Give up what is not needed, for good; returns what this system would not let us give up."""
    left = []
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        left.append("new privileges")
    with contextlib.suppress(OSError):  # when memory runs out it is this process that goes, not the one that runs
        Path("/proc/self/oom_score_adj").write_text("1000")
    # A root's own network only; anybody else's by way of a user namespace, where the kernel allows them.
    if libc.unshare(_CLONE_NEWNET) and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        left.append("network")
    for name, what, value, hard in (
        ("RLIMIT_DATA", "memory", limits.memory_bytes, limits.memory_bytes),
        ("RLIMIT_AS", "address space", limits.address_bytes, limits.address_bytes),
        ("RLIMIT_CPU", "processor time", limits.cpu_s, limits.cpu_s + 1),  # SIGXCPU, which says why; then SIGKILL
        ("RLIMIT_FSIZE", "file size", 0, 0),
        ("RLIMIT_NOFILE", "open files", 64, 64),
        ("RLIMIT_NPROC", "processes", 0, 0),  # threads as well; holds for everybody but root
        ("RLIMIT_CORE", "core dumps", 0, 0),
    ):
        if not _limited(getattr(resource, name), value, hard):
            left.append(what)
    return tuple(left)


def _limited(kind: int, value: int, hard: int) -> bool:
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != resource.RLIM_INFINITY:
        value, hard = min(value, ceiling), min(hard, ceiling)
    try:
        resource.setrlimit(kind, (value, hard))
    except (OSError, ValueError):
        return False
    return True


def _environment() -> dict[str, str]:
    """Little of ours: no secret that is kept in a variable, and one thread a library."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    ours = Path(__file__).resolve().parent.parent
    installed = ours.name in {"site-packages", "dist-packages"}  # found by itself, and not before the standard library
    place = {} if installed else {"PYTHONPATH": str(ours)}
    return {**kept, **threads, **place, "PYTHONUTF8": "1"}


def _read(process: subprocess.Popen[bytes], deadline_s: float) -> tuple[bytes, bytes, bool]:
    """Standard output and the end of standard error, until both are closed; whether that was in time."""
    out = bytearray()
    error = bytearray()
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return bytes(out), bytes(error), False
            for key, _ in selector.select(left_s):
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += piece
                else:
                    error = (error + piece)[-_STDERR_BYTES:]
            if len(out) > MAX_OUTPUT_BYTES:
                break
    return bytes(out), bytes(error), True


def _ended(process: subprocess.Popen[bytes], deadline_s: float) -> bool:
    try:
        process.wait(timeout=max(0.0, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True
