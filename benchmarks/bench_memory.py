"""Gradient checkpointing of the sequence hosts: bytes kept for the backward pass, peak memory, and time a step.

Each host trains with a seed in its first slot, by the ordinary trainer, with and without checkpointing in turn; always
on the CPU, and on CUDA too when there is a device. Sequences are random: what they hold costs nothing.

    python benchmarks/bench_memory.py [--rounds N]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from tamiyo_train.config import FINAL
from tamiyo_train.data import Labelled, Tensors
from tamiyo_train.hosts import hosts
from tamiyo_train.hosts.piece import recompute
from tamiyo_train.memory import ActivationReport, activation_report
from tamiyo_train.seeding import generator, initialising, one_thread
from tamiyo_train.static import committed
from tamiyo_train.trainer import Trainer

CLASSES = 10
SAMPLES = 256
TOPOLOGY = {0: "bottleneck"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A host at a size, trained on a device; ``steps`` a round."""

    host: str
    device: str
    width: int
    time: int
    batch: int
    steps: int


CASES = {
    "cpu": [
        Case(host="conv1d", device="cpu", width=16, time=256, batch=64, steps=4),
        Case(host="attention1d", device="cpu", width=16, time=256, batch=64, steps=4),
    ],
    "cuda": [
        Case(host="conv1d", device="cuda", width=64, time=2048, batch=512, steps=10),
        Case(host="attention1d", device="cuda", width=64, time=2048, batch=128, steps=10),
    ],
}


def sequences(case: Case) -> Tensors:
    """Random sequences on the case's device, resident."""
    source = generator(0, "sequences")
    x = torch.randn(SAMPLES, 1, case.time, generator=source)
    split = Labelled(x=x, y=torch.randint(CLASSES, (SAMPLES,), generator=source))
    made = Tensors(variants=x[None], still=0, train_y=split.y, gate=split, score=split, validation=split, test=split)
    return made.to(case.device)


def trainer_of(case: Case, data: Tensors, *, checkpointing: bool) -> Trainer:
    """A trainer of the host with its seed; the same weights every time."""
    with initialising(0):
        host = hosts.get(case.host)(shape=(1, case.time), classes=CLASSES, width=case.width)
    recompute(host.trunk, on=checkpointing)
    network = committed(host, TOPOLOGY, seed=0).to(case.device)
    return Trainer(network, data, replace(FINAL, batch=case.batch), seed=0, planted=True)


def step_seconds(trainer: Trainer, case: Case) -> float:
    """Mean wall seconds of a training step, all work on the device done."""
    _wait(case)
    started_s = time.perf_counter()
    for _ in range(case.steps):
        trainer.step()
    _wait(case)
    return (time.perf_counter() - started_s) / case.steps


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Both ways of one case, in turn so that a slow spell of the machine meets both."""
    data = sequences(case)
    trainers = {name: trainer_of(case, data, checkpointing=on) for name, on in (("kept", False), ("recomputed", True))}
    x = data.variants[0][torch.arange(case.batch) % SAMPLES]
    reports: dict[str, ActivationReport] = {}
    for name, trainer in trainers.items():
        reports[name] = activation_report(trainer.network, x)
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(rounds + 1):
        for name, trainer in trainers.items():
            elapsed_s = step_seconds(trainer, case)
            if turn:  # the first warms caches and allocators
                seconds[name].append(elapsed_s)
    ratios = [b / a for a, b in zip(seconds["kept"], seconds["recomputed"], strict=True)]
    return {
        "host": case.host,
        "device": torch.cuda.get_device_name() if case.device == "cuda" else "cpu",
        "width": case.width,
        "time": case.time,
        "batch": case.batch,
        "saved_bytes": {name: report.saved_bytes for name, report in reports.items()},
        "peak_bytes": {name: report.peak_bytes for name, report in reports.items()},
        "step_s": {name: spread(values) for name, values in seconds.items()},
        "step_ratio": spread(ratios),
    }


def _wait(case: Case) -> None:
    if case.device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    with one_thread():
        figures = [measure(case, arguments.rounds) for device in devices for case in CASES[device]]
    print(f"{'host, device':36}{'kept, MiB':>12}{'recomputed':>12}{'step, ms':>10}{'recomputed':>12}{'ratio':>8}")
    for item in figures:
        saved, steps = item["saved_bytes"], item["step_s"]
        print(
            f"{item['host'] + ', ' + item['device']:36}{saved['kept'] / 2**20:12.1f}{saved['recomputed'] / 2**20:12.1f}"
            f"{1e3 * steps['kept']['median']:10.2f}{1e3 * steps['recomputed']['median']:12.2f}"
            f"{item['step_ratio']['median']:8.2f}"
        )
        if item["peak_bytes"]["kept"] is not None:
            peaks = {name: value / 2**20 for name, value in item["peak_bytes"].items()}
            print(f"{'  peak allocated, MiB':36}{peaks['kept']:12.1f}{peaks['recomputed']:12.1f}")
    print(f"written to {append('memory', {'cases': figures}, ['torch'])}")


if __name__ == "__main__":
    main()
