"""One JSON line a run in ``benchmarks/results/``: figures, versions, machine. Shared by all benchmarks."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles: what is quoted of a noisy machine."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "q1": low, "q3": high, "runs": len(values)}


def append(name: str, figures: dict[str, Any], packages: Sequence[str]) -> Path:
    """Add a line to ``results/<name>.jsonl``."""
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{_cpu()}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}",
        "versions": {package: _version(package) for package in packages},
        **figures,
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return path


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown CPU"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
