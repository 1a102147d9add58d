"""One and a half times more work than a board can do: the governor against each fixed configuration.

Jobs arrive at 1.5 times the rate that the largest configuration can bear, at random moments (exponential gaps), and an
answer counts if it is right and comes before its deadline, three service times of the largest configuration after the
arrival. Answers are those of the real graphs on the test set of the bundle; time is the simulated board's, so every
latency here is simulated. Three ways to serve the same arrivals on the same board:

    tamiyo        the session with its governor, without the exported policy and with it
    fixed         one configuration always, in the order of arrival (earliest deadline first is the same here)
    fixed, drops  the same, but a job that can no longer be in time is not begun: a better baseline than most loops

Every configuration is tried as the fixed one. The best of them is known only afterwards, and another at another load:
it is what somebody would ship who knew the load beforehand.

    python benchmarks/bench_overload.py [BUNDLE ...] [--load 1.5] [--jobs 2000] [--seeds 10]

Without a bundle it trains a network on the digits for 256 steps and exports it for cortex-m7.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from simulators.device import SimulatedBoard
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.options import tail
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.reporter import Silent
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.signing import SigningKey, Trust
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.sources.base import Intake, Sample
from tests.arm64.bundles import command

PACKAGES = ("numpy", "ai-edge-litert", "onnxruntime")
SLACK = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of all jobs: answered in time, and answered right and in time."""

    in_time: float
    right: float


class Arrivals:
    """A stream on the virtual clock: jobs at their moments, which the session waits for."""

    live = True

    def __init__(self, samples: list[Sample], moments: list[float], clock: VirtualClock) -> None:
        self.label = "arrivals"
        self._jobs = iter(zip(moments, samples, strict=True))
        self._clock, self._next = clock, next(self._jobs, None)

    def start(self) -> None:
        """Nothing to start."""

    def take(self, timeout_s: float) -> Sample | None:
        """The next job, once it has arrived."""
        if self._next is None:
            return None
        moment_s, sample = self._next
        if moment_s > self._clock.now_s() + timeout_s:
            self._clock.sleep_until(self._clock.now_s() + timeout_s)
            return None
        self._clock.sleep_until(moment_s)
        self._next = next(self._jobs, None)
        return sample._replace(arrived_s=moment_s)

    def ended(self) -> bool:
        """Whether all jobs were taken."""
        return self._next is None

    def intake(self) -> Intake:
        """Nothing is lost on the way."""
        return Intake()

    def close(self) -> None:
        """Nothing to close."""


class Bench:
    """One bundle on its simulated board under one load."""

    def __init__(self, bundle: Bundle, load: float, jobs: int) -> None:
        # Costs are taken at their word on both sides: what is compared is the choice, not who knows the board better.
        self.bundle = bundle
        self.executor = Executor(bundle)
        self.policy = Policy.of(bundle, self.executor.variant.format)
        runnables = self.executor.runnables
        self.full = max(range(len(runnables)), key=lambda index: runnables[index].cost.latency_ms.value)
        service_ms = runnables[self.full].cost.latency_ms.value
        self.gap_s = service_ms * 1e-3 / load
        self.deadline_ms = SLACK * service_ms * tail(bundle.manifest.profile)
        self.samples = list(_cycled(bundle, jobs))

    def moments(self, seed: int) -> list[float]:
        """When jobs arrive."""
        rng, now_s, found = random.Random(seed), 0.0, []
        for _ in self.samples:
            now_s += rng.expovariate(1 / self.gap_s)
            found.append(now_s)
        return found

    def governed(self, seed: int, *, policy: bool) -> Outcome:
        """The session."""
        clock = VirtualClock()
        board = SimulatedBoard(self.bundle.manifest.profile, clock=clock, seed=seed)
        summary = Session(
            self.bundle.manifest,
            self.executor,
            board=board,
            source=Arrivals(self.samples, self.moments(seed), clock),
            reporter=Silent(),
            policy=self.policy if policy else None,
            plan=Plan(period_s=0.0, budget=Budget(latency_ms=self.deadline_ms), dwell_s=0.0, watchful=None, trace=True),
        ).run()
        assert summary.samples == len(self.samples)
        assert summary.trace is not None
        in_time = summary.inferences - summary.deadline_misses
        return Outcome(in_time / summary.samples, summary.correct / summary.samples)

    def fixed(self, seed: int, option: int, *, drops: bool) -> Outcome:
        """One configuration, first come, first served."""
        clock = VirtualClock()
        board = SimulatedBoard(self.bundle.manifest.profile, clock=clock, seed=seed)
        cost = self.executor.runnables[option].cost
        in_time = right = 0
        for moment_s, sample in zip(self.moments(seed), self.samples, strict=True):
            clock.sleep_until(moment_s)
            waited_ms = (clock.now_s() - moment_s) * 1e3
            if drops and waited_ms + cost.latency_ms.value > self.deadline_ms:
                continue
            (answer, _), usage = board.run(lambda s=sample: self.executor.classify(s.value, option), cost)
            if waited_ms + usage.latency_ms <= self.deadline_ms:
                in_time += 1
                right += answer == sample.label
        return Outcome(in_time / len(self.samples), right / len(self.samples))


def _cycled(bundle: Bundle, jobs: int) -> Iterator[Sample]:
    samples = list(open_source("bundle", bundle))  # type: ignore[arg-type]  # a bundle's own samples have an end
    return (samples[index % len(samples)] for index in range(jobs))


def measure(bundle: Bundle, load: float, jobs: int, seeds: int) -> dict[str, Any]:
    """All ways of serving, on the same arrivals."""
    bench = Bench(bundle, load, jobs)
    ways = {
        "tamiyo, governor alone": lambda seed: bench.governed(seed, policy=False),
        "tamiyo, with its policy": lambda seed: bench.governed(seed, policy=True),
        "largest fixed": lambda seed: bench.fixed(seed, bench.full, drops=False),
        "smallest fixed": lambda seed: bench.fixed(seed, 0, drops=False),
    }
    for option, runnable in enumerate(bench.executor.runnables):
        ways[f"{runnable.configuration} fixed, drops"] = lambda seed, option=option: bench.fixed(
            seed, option, drops=True
        )
    found = {name: [way(seed) for seed in range(seeds)] for name, way in ways.items()}
    return {
        "bundle": bundle.manifest.name,
        "profile": bundle.manifest.profile.id,
        "source": "simulated",
        "load": load,
        "jobs": jobs,
        "deadline_ms": bench.deadline_ms,
        "service_full_ms": bench.executor.runnables[bench.full].cost.latency_ms.value,
        "service_host_ms": bench.executor.runnables[0].cost.latency_ms.value,
        "in_time": {name: spread([outcome.in_time for outcome in all_]) for name, all_ in found.items()},
        "right": {name: spread([outcome.right for outcome in all_]) for name, all_ in found.items()},
    }


def main() -> int:
    """Measure, print, append to results/overload.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--load", type=float, default=1.5)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundles = [Bundle.open(path) for path in arguments.bundles] or [made(Path(scratch))]
    for bundle in bundles:
        manifest = replace(bundle.manifest, budget=Budget())
        figures = measure(_with(bundle, manifest), arguments.load, arguments.jobs, arguments.seeds)
        print(
            f"{figures['bundle']} on {figures['profile']} (simulated), load {arguments.load:g}, full network "
            f"{figures['service_full_ms']:.3g} ms, host {figures['service_host_ms']:.3g} ms, "
            f"deadline {figures['deadline_ms']:.3g} ms after arrival"
        )
        print(f"{'way':<26} {'in time':>8} {'right and in time':>18}   medians of {arguments.seeds} seeds")
        right = {name: figures["right"][name]["median"] for name in figures["in_time"]}
        best = max((name for name in right if "fixed" in name), key=lambda name: right[name])
        for name, in_time in figures["in_time"].items():
            mark = "   the best fixed, in hindsight" if name == best else ""
            print(f"{name:<26} {in_time['median']:>8.1%} {right[name]:>18.1%}{mark}")
        if not arguments.dry_run:
            append("overload", figures, PACKAGES)
    return 0


def made(folder: Path) -> Bundle:
    """A short training, and what it exports to for a board whose seeds cost more than their host."""
    key, path, home = folder / "bench.key", folder / "digits.tamiyo", folder / "home"
    public = SigningKey.create(key).public
    print("training and exporting the digits: some minutes", file=sys.stderr)
    command("train", folder / "digits", "--growth", "kasmina", "--steps", "256", home=home)
    options = ("--target", "cortex-m7", "--accuracy-floor", "0", "--key", key, "--out", path)
    command("export", folder / "digits", *options, home=home)
    return Bundle.open(path, trusted=Trust.of(public))


def _with(bundle: Bundle, manifest: Any) -> Bundle:
    return Bundle(
        name=bundle.name,
        size_bytes=bundle.size_bytes,
        manifest=manifest,
        digest=bundle.digest,
        signer=bundle.signer,
        files={name: bundle.read(name) for name in bundle.names},
    )


if __name__ == "__main__":
    sys.exit(main())
