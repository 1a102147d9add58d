"""What a decision takes: the governor's, and the exported policy's.

The governor: `decide` and `settle` for random proposals and conditions (waits, heat, throttling, a bucket that runs
low), each pair timed by itself, as many as asked for. The policy: `Adviser.ask`, hand-over to its thread and back
included, on states drawn from those conditions, against the bare interpreter on the same policy graph, in turn.

    python benchmarks/bench_governor.py [BUNDLE ...] [--decisions 50000] [--questions 3000]

Targets: a decision of the governor in 50 us at p99; of the policy in 1 ms at p99 (the limit on a device is 50 ms).
Without a bundle it makes the hand-made one of the tests. The clock itself takes some 0.05 us of every figure.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append
from tamiyo_runtime.advice import Adviser
from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.plan import Format
from tamiyo_runtime.contracts.records import Reason
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.governor import SKIP, Conditions, Governor, Limits, Proposal
from tamiyo_runtime.interpreters.base import open_graph
from tamiyo_runtime.observer import Observer
from tamiyo_runtime.options import Options
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.signing import SigningKey, Trust

PACKAGES = ("numpy", "ai-edge-litert", "onnxruntime")


def decisions(bundle: Bundle, executor: Executor, count: int) -> list[float]:
    """Microseconds of each decision with its settlement."""
    rng = random.Random(0)
    options = Options.of(executor.runnables, bundle.manifest.configurations, bundle.manifest.profile, period_s=0.01)
    full = options.items[-1]
    budget = Budget(
        latency_ms=1.5 * full.latency_worst_ms,
        power_mw=0.6 * full.energy_worst_uj / 10.0,
        energy_burst_uj=8 * full.energy_worst_uj,
        temperature_c=85.0,
    )
    governor = Governor(options, Limits.of(budget, throttle_c=80.0))
    state, now_ms, taken = governor.start(0.0), 0.0, []
    for _ in range(count):
        now_ms += rng.expovariate(1 / 10.0)
        proposal = Proposal(rng.randrange(len(options)), Reason.POLICY)
        conditions = Conditions(
            rng.choice((1.0, 1.0, 1.5, 2.5)), rng.choice((0.0, rng.random())), rng.gauss(74.0, 5.0), 1e9
        )
        share = rng.random()
        begun_ns = time.perf_counter_ns()
        grant, state = governor.decide(state, proposal, conditions, now_ms)
        if grant.option != SKIP:
            state = governor.settle(
                state,
                grant,
                ran=grant.option,
                latency_ms=share * grant.worst_ms,
                energy_uj=share * grant.reserved_uj,
                now_ms=now_ms,
            )
        taken.append((time.perf_counter_ns() - begun_ns) * 1e-3)
    return taken


def questions(bundle: Bundle, executor: Executor, count: int) -> tuple[list[float], list[float]]:
    """Microseconds of each answer of the policy, and of the bare graph in between."""
    policy = Policy.of(bundle, executor.variant.format)
    spec = bundle.manifest.policy
    assert policy is not None
    assert spec is not None
    form = next(Format(form) for form in spec.graphs if Format(form) is executor.variant.format)
    graph = spec.graphs[form]
    bare = open_graph(bundle.read(graph.file), graph, interpreter=policy.interpreter).bind()
    observer = Observer(bundle.manifest, executor.variant, period_s=0.01)
    limits = Limits.of(Budget(latency_ms=10.0))
    adviser = Adviser(policy, in_real_time=True)
    rng, vector = random.Random(1), np.zeros(graph.inputs[0].shape, np.float32)
    ours, theirs = [], []
    for index in range(count):
        state = observer.state(
            current=rng.randrange(len(executor.runnables)),
            limits=limits,
            slowdown=1.0 + rng.random(),
            bucket_level=rng.random(),
            link_level=rng.random(),
        )
        begun_ns = time.perf_counter_ns()
        answer = adviser.ask(state, 1000.0)
        asked_ns = time.perf_counter_ns()
        bare(vector)
        ended_ns = time.perf_counter_ns()
        assert answer.gates is not None, answer.problem
        if index >= 50:
            ours.append((asked_ns - begun_ns) * 1e-3)
            theirs.append((ended_ns - asked_ns) * 1e-3)
    adviser.close()
    return ours, theirs


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """What is quoted."""
    cuts = statistics.quantiles(values, n=1000)
    return {"p50": cuts[499], "p99": cuts[989], "p999": cuts[998], "max": max(values)}


def measure(bundle: Bundle, decided: int, asked: int) -> dict[str, Any]:
    """All figures of one bundle, us."""
    executor = Executor(bundle)
    ours, theirs = questions(bundle, executor, asked)
    return {
        "bundle": bundle.manifest.name,
        "options": len(executor.runnables),
        "policy_by": executor.variant.format.value,
        "governor_us": percentiles(decisions(bundle, executor, decided)),
        "policy_us": percentiles(ours),
        "policy_graph_us": percentiles(theirs),
        "policy_ratio_p50": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "decisions": decided,
        "questions": asked,
    }


def tiny(folder: Path) -> Bundle:
    """The hand-made bundle of the tests."""
    from tests import tiny as hand_made

    made, key = hand_made.make(), SigningKey.generate()
    path = folder / "tiny.tamiyo"
    write_bundle(path, made.manifest, made.files, key, overwrite=False)
    return Bundle.open(path, trusted=Trust.of(key.public))


def main() -> int:
    """Measure, print, append to results/governor.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--decisions", type=int, default=50_000)
    parser.add_argument("--questions", type=int, default=3000)
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundles = [Bundle.open(path) for path in arguments.bundles] or [tiny(Path(scratch))]
        for bundle in bundles:
            figures = measure(bundle, arguments.decisions, arguments.questions)
            print(f"{figures['bundle']}, {figures['options']} options, policy in {figures['policy_by']}; us")
            print(f"{'':<28} {'p50':>8} {'p99':>8} {'p99.9':>8} {'max':>9}")
            for name, label in (
                ("governor_us", "governor, decide + settle"),
                ("policy_us", "policy, asked in its thread"),
                ("policy_graph_us", "policy graph alone"),
            ):
                p = figures[name]
                print(f"{label:<28} {p['p50']:>8.1f} {p['p99']:>8.1f} {p['p999']:>8.1f} {p['max']:>9.1f}")
            print(f"policy over its graph alone: {figures['policy_ratio_p50']:.2f} (median of ratios)")
            if not arguments.dry_run:
                append("governor", figures, PACKAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
