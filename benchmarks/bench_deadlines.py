"""Deadlines on a real clock while other work keeps a core busy: the session beside a bare interpreter loop.

A sample is due every 10 ms and its answer 5 ms later. Both sides are processes of their own, on the same bundle, in
turn, round by round, while as many busy processes run as asked for:

    tamiyo   the whole session: meters, policy, governor, telemetry into a spool on disk
    bare     sleeps until a sample is due, runs the most accurate configuration through the interpreter, and looks at
             the clock

An answer is late when it ends more than 5 ms after its sample was due. tamiyo may also skip a sample that can no longer
be in time, which is counted beside the late ones: what matters is how many samples had an answer in time.

    python benchmarks/bench_deadlines.py [BUNDLE] [--rounds 9] [--samples 500] [--busy 1]

Without a bundle it exports a hand-made network of some 2 ms, most of it in three seeds, so that there is something to
leave out.
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
from benchmarks.bench_runtime_overhead import apart, bare_loop
from benchmarks.results import append, spread
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import HostBoard
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.signing import PublicKey, SigningKey, Trust
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.telemetry_opening import open_telemetry

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


def heavy(folder: Path, key: SigningKey) -> Path:
    """A network whose three seeds are convolutions as large as its trunk's; random weights and inputs."""
    import numpy as np
    import torch
    from torch import nn

    from exporters.pipeline import export
    from exporters.request import ExportRequest, SeedModule
    from tamiyo_runtime.contracts.manifest import InputSpec

    torch.manual_seed(0)
    channels, side = 32, 32

    class Seed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.relu(self.conv(x))

    def piece(wide_in: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(wide_in, channels, 3, padding=1), nn.ReLU()).eval()

    inputs = np.random.default_rng(0).integers(0, 256, (96, 1, side, side)).astype(np.float32)
    request = ExportRequest(
        name="heavy",
        task="benchmark",
        classes=tuple(map(str, range(10))),
        input=InputSpec(shape=(1, side, side), layout="CHW", offset=0.0, scale=1 / 255, raw_low=0.0, raw_high=255.0),
        trunk=[
            piece(1),
            piece(channels),
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU()).eval(),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)).eval(),
        ],
        seeds=[SeedModule(slot=slot, blueprint="wide-conv", module=Seed().eval()) for slot in range(3)],
        calibration=inputs[:64],
        test_inputs=inputs[64:],
        test_labels=np.zeros(32, np.int64),
        budget=Budget(latency_ms=1e3),
        accuracy_floor=0.0,
    )
    path = folder / "heavy.tamiyo"
    export(request, "x86-64", path, key=key)
    return path


def main() -> int:
    """Measure, print, append to results/deadlines.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--key", type=Path, help="public key of the bundle's signer; default: those trusted here")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--busy", type=int, default=1, help="processes that keep a core busy")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    parser.add_argument("--side", choices=("tamiyo", "bare"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        print(json.dumps(one_round(arguments.side, arguments.bundle, arguments.key, arguments.samples)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        path, public = arguments.bundle, arguments.key
        if path is None:
            key = SigningKey.generate()
            public = Path(scratch) / "bench.pub"
            public.write_bytes(key.public.to_pem())
            path = apart(heavy, Path(scratch), key)
        figures = measure(path, public, arguments.rounds, arguments.samples, arguments.busy)
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


def one_round(side: str, path: Path, public: Path | None, samples: int) -> dict[str, float]:
    """What a process of its own does."""
    bundle = opened(path, public)
    if side == "bare":
        return bare(bundle, samples)
    with tempfile.TemporaryDirectory() as scratch:
        return governed(bundle, samples, Path(scratch))


def opened(path: Path, public: Path | None) -> Bundle:
    """The bundle, signed by that key, or by one that is trusted here."""
    return Bundle.open(path) if public is None else Bundle.open(path, trusted=Trust.of(PublicKey.load(public)))


def measure(path: Path, public: Path | None, rounds: int, samples: int, busy: int) -> dict[str, Any]:
    """Both sides in turn under the same load."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(busy)]
    taken: dict[str, list[dict[str, float]]] = {"tamiyo": [], "bare": []}
    try:
        for round_ in range(rounds):
            for side in sorted(taken, reverse=bool(round_ % 2)):
                command = [sys.executable, __file__, str(path), "--side", side, "--samples", str(samples)]
                command += [] if public is None else ["--key", str(public)]
                answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                taken[side].append(json.loads(answer.splitlines()[-1]))
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    return {
        "bundle": opened(path, public).manifest.name,
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
