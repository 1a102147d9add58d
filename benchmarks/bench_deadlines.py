"""Deadlines on a real clock while other work keeps a core busy: the session beside a bare interpreter loop.

A sample is due every 10 ms and its answer 5 ms later. Both sides are processes of their own, on the same bundle, in
turn, round by round, while as many busy processes run as asked for:

    tamiyo   the whole session: meters, policy, governor, telemetry into a spool on disk
    bare     sleeps until a sample is due, runs the most accurate configuration through the interpreter, and looks at
             the clock

An answer is late when it ends more than 5 ms after its sample was due. tamiyo may also skip a sample that can no longer
be in time, which is counted beside the late ones: what matters is how many samples had an answer in time.

    python benchmarks/bench_deadlines.py BUNDLE [--rounds 9] [--samples 500] [--busy 1]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.bench_runtime_overhead import bare_loop
from benchmarks.results import append, spread
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import HostBoard
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.telemetry import open_telemetry

PACKAGES = ("numpy", "ai-edge-litert", "onnxruntime")
PERIOD_S, DEADLINE_MS = 10e-3, 5.0
BURN = "while True: sum(range(10000))"


def governed(bundle: Bundle, samples: int, folder: Path) -> dict[str, float]:
    """One round of the session, in this process."""
    manifest = replace(bundle.manifest, budget=Budget(latency_ms=DEADLINE_MS))
    executor = Executor(bundle)
    board = HostBoard(manifest.profile)
    telemetry = open_telemetry(
        spool=folder / "bench.spool", url=None, fleet="bench", device="bench", bundle=bundle.digest[:8],
        link=Ethernet(), clock=board.clock,
    )  # fmt: skip
    summary = Session(
        manifest,
        executor,
        board=board,
        source=open_source("bundle", bundle),
        reporter=telemetry,
        policy=Policy.of(bundle, executor.variant.format),
        plan=Plan(samples=samples, period_s=PERIOD_S, dwell_s=0.1, watchful=None),
    ).run()
    telemetry.close()
    skipped = summary.skipped
    return {
        "late": summary.deadline_misses / samples,
        "skipped": skipped / samples,
        "in_time": (summary.inferences - summary.deadline_misses) / samples,
        "right": summary.correct / samples,
    }


def bare(bundle: Bundle, samples: int) -> dict[str, float]:
    """One round of the bare loop, in this process."""
    executor = Executor(bundle)
    best = max(executor.runnables, key=lambda item: (item.accuracy or 0.0, item.cost.macs))
    loop = bare_loop(bundle, executor, best.configuration)
    loop(100)
    late, started_s = 0, time.monotonic()
    for index in range(samples):
        due_s = started_s + index * PERIOD_S
        if (wait_s := due_s - time.monotonic()) > 0:
            time.sleep(wait_s)
        loop(1)
        late += (time.monotonic() - due_s) * 1e3 > DEADLINE_MS
    return {"late": late / samples, "skipped": 0.0, "in_time": 1 - late / samples}


def main() -> int:
    """Measure, print, append to results/deadlines.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--busy", type=int, default=1, help="processes that keep a core busy")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    parser.add_argument("--side", choices=("tamiyo", "bare"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        print(json.dumps(one_round(arguments.side, arguments.bundle, arguments.samples)))
        return 0
    figures = measure(arguments.bundle, arguments.rounds, arguments.samples, arguments.busy)
    print(f"{figures['bundle']}: {PERIOD_S * 1e3:g} ms period, {DEADLINE_MS:g} ms deadline, {arguments.busy} busy")
    print(f"{'side':<8} {'late':>8} {'skipped':>8} {'in time':>8}   medians of {arguments.rounds} rounds (quartiles)")
    for side in ("tamiyo", "bare"):
        found = figures[side]
        late = found["late"]
        print(
            f"{side:<8} {late['median']:>8.2%} {found['skipped']['median']:>8.2%} {found['in_time']['median']:>8.2%}"
            f"   ({late['q1']:.2%} to {late['q3']:.2%})"
        )
    if not arguments.dry_run:
        append("deadlines", figures, PACKAGES)
    return 0


def one_round(side: str, path: Path, samples: int) -> dict[str, float]:
    """What a process of its own does."""
    bundle = Bundle.open(path)
    if side == "bare":
        return bare(bundle, samples)
    with tempfile.TemporaryDirectory() as scratch:
        return governed(bundle, samples, Path(scratch))


def measure(path: Path, rounds: int, samples: int, busy: int) -> dict[str, Any]:
    """Both sides in turn under the same load."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(busy)]
    taken: dict[str, list[dict[str, float]]] = {"tamiyo": [], "bare": []}
    try:
        for round_ in range(rounds):
            for side in sorted(taken, reverse=bool(round_ % 2)):
                command = [sys.executable, __file__, str(path), "--side", side, "--samples", str(samples)]
                answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                taken[side].append(json.loads(answer.splitlines()[-1]))
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    return {
        "bundle": Bundle.open(path).manifest.name,
        "period_ms": PERIOD_S * 1e3,
        "deadline_ms": DEADLINE_MS,
        "busy": busy,
        "samples_a_round": samples,
        **{
            side: {name: spread([one[name] for one in found]) for name in ("late", "skipped", "in_time")}
            for side, found in taken.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
