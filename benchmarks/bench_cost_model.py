"""How well the cost model knows this machine: draw a probe kit, time it, calibrate, look at the graphs kept out.

    python benchmarks/bench_cost_model.py [--seconds 90] [--profile x86-64] [--refit FILE.toml] [--keep RUNS.json.gz]

One process, one thread, under three minutes. The fit sees two thirds of the graphs; every figure is of the last third.
Beside it stand the profile as it is committed, judged by all graphs, and the least that could be called a cost model:
one time a MAC, fitted to the same two thirds. ``--refit`` writes the calibrated profile and ``--keep`` the runs; the
line in ``benchmarks/results/cost_model.jsonl`` is written in any case, with the machine's load before it began. The
profile x86-64 that comes with the package was made by

    python benchmarks/bench_cost_model.py --refit device_profiles/data/x86-64.toml --keep tests/data/x86_64_runs.json.gz
    python -m device_profiles.errors_table docs/numbers.md
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append
from device_profiles.calibrate import Calibration, calibrate
from device_profiles.calibrate_file import rewrite
from device_profiles.cost import estimate
from device_profiles.loader import load_profile, read_profile
from device_profiles.measured import Sample, samples_of
from device_profiles.profile import Profile
from exporters.probes import write_probes
from tamiyo_runtime.cli.render import hushed, progress, table
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.runs import Runs
from tamiyo_runtime.files import write_atomic
from tamiyo_runtime.measure import interpreter_of_kits, runs_of, subjects_of_kit, this_machine, time_all
from tamiyo_runtime.probekit import open_kit
from tamiyo_runtime.signing import SigningKey, Trust

PACKAGES = ("numpy", "ai-edge-litert")


def measured(seconds: float) -> Runs:
    """A kit, drawn and timed here."""
    key = SigningKey.generate()
    with tempfile.TemporaryDirectory() as folder, hushed():
        path = Path(folder) / "kit.tamiyo-probes"
        write_probes(path, key)
        kit = open_kit(path, trusted=Trust.of(key.public))
        interpreter = interpreter_of_kits()
        subjects = subjects_of_kit(kit, interpreter=interpreter)
    with progress(f"timing {len(subjects)} graphs", total=100) as bar:

        def tick(rounds: int, share: float) -> None:
            bar.advance(int(100 * share) - bar.done, remark=f"{rounds} rounds")

        time_all(subjects, kit.kit.reference, seconds=seconds, tick=tick)
    return runs_of(subjects, kit.kit.reference, subject="probes", digest=kit.digest, machine=this_machine(interpreter))


def one_rate(samples: Sequence[Sample], held: Mapping[str, bool]) -> dict[str, float]:
    """Ratio, at least 1, of every graph kept out that has MACs to what one time a MAC and precision predicts."""
    ratios = {}
    for precision in Precision:
        own = [(s, sum(op.macs for op in s.ops)) for s in samples if s.precision is precision]
        rate = median(s.p50_us / macs for s, macs in own if macs and not held[s.id])
        for s, macs in own:
            if macs and held[s.id]:
                ratios[s.id] = math.exp(abs(math.log(rate * macs / s.p50_us)))
    return ratios


def committed(profile: Profile, samples: Sequence[Sample]) -> dict[str, float]:
    """The profile as it is: share of all graphs inside its interval, and its mean error."""
    inside, errors = 0, []
    for sample in samples:
        cost = estimate(profile, [sample.ops], precision=sample.precision).latency_ms
        inside += cost.low <= sample.p50_us * 1e-3 <= cost.high
        errors.append(abs(cost.value * 1e3 / sample.p50_us - 1))
    return {
        "relative_error": profile.value("model.relative_error"),
        "coverage": round(inside / len(samples), 4),
        "mean_error": round(mean(errors), 4),
        "median_error": round(median(errors), 4),
    }


def speed(profile: Profile, samples: Sequence[Sample], seconds: float = 1.0) -> float:
    """Evaluations of `estimate` in a second of processor time, over the graphs of the kit."""
    graphs = [([sample.ops], sample.precision) for sample in samples]
    count, began = 0, time.process_time()
    while (taken := time.process_time() - began) < seconds:
        for ops, precision in graphs:
            estimate(profile, ops, precision=precision)
        count += len(graphs)
    return count / taken


def by_family(result: Calibration) -> dict[str, dict[str, float]]:
    """Coverage and errors of the graphs kept out."""
    found = {}
    for family in dict.fromkeys(item.family for item in result.held_out):
        own = [item for item in result.held_out if item.family == family]
        found[family] = {
            "graphs": len(own),
            "inside": sum(item.ratio <= 1 + result.relative_error for item in own),
            "mean_error": round(mean(item.error for item in own), 4),
            "worst_error": round(max(item.error for item in own), 4),
        }
    return found


def main() -> None:
    """Run the benchmark and append its line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=90.0, help="time to measure for")
    parser.add_argument("--profile", default="x86-64", help="profile to start from")
    parser.add_argument("--refit", type=Path, help="write the calibrated profile to this file")
    parser.add_argument("--keep", type=Path, help="write the runs to this file, compressed")
    arguments = parser.parse_args()
    began, load = time.monotonic(), os.getloadavg()[0]
    runs = measured(arguments.seconds)
    if arguments.keep is not None:
        write_atomic(arguments.keep, gzip.compress(runs.to_json(), mtime=0), overwrite=True)
    profile = load_profile(arguments.profile)
    samples, machine = samples_of({"runs": runs}, needed=())
    result = calibrate(profile, samples)
    raw = {run.id: run.p50_us for run in runs.runs}
    spread = 1 + result.relative_error
    text = rewrite(read_profile(arguments.profile), result, machine=machine, when=runs.when)
    with tempfile.TemporaryDirectory() as folder:
        fitted_file = arguments.refit or Path(folder) / "fitted.toml"
        write_atomic(fitted_file, text, overwrite=True)
        fitted = load_profile(str(fitted_file))
    baseline = one_rate(samples, {item.id: item.held_out for item in result.predictions})
    ours = {item.id: item.ratio for item in result.held_out if item.id in baseline}
    figures: dict[str, Any] = {
        "device": machine.device,
        "load_before": round(load, 2),
        "kernel": machine.system,
        "graphs": len(samples),
        "rounds": min(run.rounds for run in runs.runs),
        "reference_us": {
            "p50": runs.reference.p50_us,
            "p5": runs.reference.low_us,
            "p95": runs.reference.high_us,
        },
        "held_out": len(result.held_out),
        "half_width": round(result.relative_error, 4),
        "coverage": round(result.coverage, 4),
        "coverage_of_raw_medians": round(
            mean(1 / spread <= raw[item.id] / item.predicted_us <= spread for item in result.held_out), 4
        ),
        "mean_error": round(result.mean_error, 4),
        "median_error": round(median(item.error for item in result.held_out), 4),
        "worst": {"graph": result.worst.id, "error": round(result.worst.error, 4)},
        "vectors": {str(precision): list(lanes) for precision, lanes in result.lanes.items()},
        "families": by_family(result),
        "committed_profile": committed(profile, samples),
        "one_rate_a_mac": {
            "graphs": len(baseline),
            "mean_factor": round(math.exp(mean(map(math.log, baseline.values()))), 4),
            "our_mean_factor": round(math.exp(mean(map(math.log, ours.values()))), 4),
            "ratio_of_log_errors": round(sum(map(math.log, baseline.values())) / sum(map(math.log, ours.values())), 2),
        },
        "evaluations_per_s": round(speed(fitted, samples)),
        "operators_a_graph": round(mean(len(sample.ops) for sample in samples), 2),
        "took_s": round(time.monotonic() - began, 1),
    }
    families = figures["families"]
    table(
        ["kept out", "graphs", "inside", "mean error", "worst"],
        [
            [name, f["graphs"], f["inside"], f"{f['mean_error']:.1%}", f"{f['worst_error']:.1%}"]
            for name, f in families.items()
        ],
    )
    print(f"\n{machine.device}, {machine.system}: reference {runs.reference.p50_us:g} us", end="")
    print(f" ({runs.reference.low_us:g} to {runs.reference.high_us:g}), {figures['rounds']} rounds")
    print(
        f"90 % interval: a factor of {spread:.3f}; inside {result.coverage:.1%} of {figures['held_out']} graphs", end=""
    )
    print(f" kept out (of raw medians {figures['coverage_of_raw_medians']:.1%})")
    print(f"error: mean {result.mean_error:.1%}, median {figures['median_error']:.1%}, worst {figures['worst']}")
    print(f"the profile as committed: {figures['committed_profile']}")
    print(f"one time a MAC: {figures['one_rate_a_mac']}")
    print(f"{figures['evaluations_per_s']} estimates a second, {figures['operators_a_graph']} operators each", end="")
    print(f"; {figures['took_s']} s in all")
    print(f"-> {append('cost_model', figures, PACKAGES)}")


if __name__ == "__main__":
    main()
