"""The child of `tamiyo_runtime.canary`: ``python -m tamiyo_runtime.canary_child``, a request on standard input.

One JSON document a line on standard output: ``{"doing": ...}`` before each step, so that whoever finds us dead knows
where, and at the end ``{"verdict": ...}`` or ``{"error": ...}``. What engines print goes nowhere.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tamiyo_runtime.cage import Limits, confine, printable

Say = Callable[[Mapping[str, Any]], None]
Doing = Callable[[str], None]


def main() -> int:
    """Serve one request; returns the exit code, 0 also for a bundle that is refused."""
    request = json.loads(sys.stdin.buffer.read())
    say = _voice()
    unconfined = confine(Limits(**request["limits"]))
    from tamiyo_runtime.contracts.errors import ExitCode, TamiyoError

    step = ""

    def doing(what: str) -> None:
        nonlocal step
        step = what
        say({"doing": what})

    try:
        say({"verdict": {**_try(request, doing), "unconfined": unconfined}})
    except TamiyoError as exc:
        say({"error": {"message": printable(exc.message), "hint": exc.hint, "exit_code": int(exc.exit_code)}})
    except Exception as exc:  # noqa: BLE001  whatever a hostile graph makes a library raise is a verdict on the graph
        what = "no memory left" if isinstance(exc, MemoryError) else printable(f"{type(exc).__name__}: {exc}", 200)
        say({"error": {"message": f"{step}: {what}", "hint": None, "exit_code": int(ExitCode.INTEGRITY)}})
    return 0


def _try(request: Mapping[str, Any], doing: Doing) -> dict[str, Any]:
    from tamiyo_runtime.admission import forms_here, graphs_here
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.contracts.errors import IntegrityError
    from tamiyo_runtime.interpreters import choose, interpreters, open_graph
    from tamiyo_runtime.selftest import replay
    from tamiyo_runtime.signing import PublicKey, Trust

    doing("opening it")
    trusted = Trust.of(*(PublicKey(bytes.fromhex(key)) for key in request["keys"]))
    bundle = Bundle.open(Path(request["path"]), trusted=trusted)
    if request["digest"] not in {None, bundle.digest}:
        raise IntegrityError(f"{bundle.name} was replaced while it was examined", hint="try again")
    for form in forms_here(bundle):
        module = interpreters.get(choose(form)).module
        doing(f"importing {module}")
        importlib.import_module(module)
    for graph in graphs_here(bundle):
        doing(f"loading '{graph.file}'")
        open_graph(bundle.read(graph.file), graph)
    checks = replay(bundle, every=True, doing=doing)
    return {
        "digest": bundle.digest,
        "checks": [{**asdict(check), "worst": _finite(check.worst)} for check in checks],
        "peak_memory_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    """The most that was resident. The kernel's ``ru_maxrss`` also counts the parent's memory before the exec."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    high = next((line for line in lines if line.startswith("VmHWM:")), None)
    return int(high.split()[1]) << 10 if high else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _finite(value: float | None) -> float | None:
    """JSON has no infinity; the check's problem says it in words."""
    return value if value is not None and math.isfinite(value) else None


def _voice() -> Say:
    """Writes documents to what was standard output; libraries that print find it closed to them."""
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def say(document: Mapping[str, Any]) -> None:
        stream.write(json.dumps(document).encode() + b"\n")

    return say


if __name__ == "__main__":
    sys.exit(main())
