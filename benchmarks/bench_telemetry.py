"""What collecting telemetry costs while a network grows: the same episodes with and without it, in turn, one process.

Collecting is everything that `telemetry.read` and `GrowthEnv.observe` do: forward passes with and without every seed,
features and masks. An episode is played once and its decisions and readings are kept; then it is replayed in turn
with collecting, and without: there the gates of the life cycle are handed the kept readings. Both train the same
weights, bit by bit, which is checked. So the figure counts what gates and governor need as collecting, too.

    python benchmarks/bench_telemetry.py [--runs N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
import torch

from benchmarks.results import append, spread
from tamiyo_train import telemetry
from tamiyo_train.config import Episode
from tamiyo_train.env import GrowthEnv
from tamiyo_train.jobs import environment
from tamiyo_train.policy.actions import Action
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings
from tamiyo_train.presets import preset
from tamiyo_train.seeding import one_thread

EAGER = KasminaSettings(patience=0)
"""Fills every slot as early as the gates allow: the dearest case for collecting."""
TARGET = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task and which of its episodes; ``held``: whether the target is held against it.

    Episodes of the collection have windows so short that measuring weighs more; they are reported beside it.
    """

    task: str
    episode: str
    held: bool

    @property
    def name(self) -> str:
        """As it is printed and recorded."""
        return f"{self.task} {self.episode}"

    def environment(self) -> GrowthEnv:
        """A fresh one; the same every time."""
        config = preset(self.task)
        episode: Episode = config.final if self.episode == "final" else config.collect
        return environment(config, replace(episode, consolidation_steps=0), seed=0)


CASES = (
    Case(task="digits", episode="final", held=True),
    Case(task="spirals", episode="final", held=True),
    Case(task="digits", episode="collect", held=False),
    Case(task="spirals", episode="collect", held=False),
)


@dataclass(frozen=True, slots=True)
class Script:
    """What an episode did: its decisions, and its readings in the order they were taken."""

    actions: tuple[Action, ...]
    readings: tuple[telemetry.Reading, ...]
    seeds: int


@contextmanager
def reading_by(read: object) -> Iterator[None]:
    """Everyone who asks for a reading gets it from ``read``."""
    real = telemetry.read
    telemetry.read = read  # type: ignore[assignment]  # a benchmark's double
    try:
        yield
    finally:
        telemetry.read = real


def record(case: Case) -> Script:
    """Play the episode with the eager heuristic."""
    readings: list[telemetry.Reading] = []
    real = telemetry.read

    def keep(*arguments: object) -> telemetry.Reading:
        readings.append(real(*arguments))  # type: ignore[arg-type]  # passed on as they come
        return readings[-1]

    with reading_by(keep):
        env, decider = case.environment(), KasminaMicro(EAGER)
        while not env.done:
            env.act(decider.decide(env.observe()))
    seeds = sum(seed is not None for seed in env.network.seeds)
    return Script(tuple(window.action for window in env.windows), tuple(readings), seeds)


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one replay: wall and processor seconds, and the weights it reached."""

    wall_s: float
    cpu_s: float
    weights: dict[str, torch.Tensor]


def replay(case: Case, script: Script, *, collecting: bool) -> Timing:
    """Train the recorded episode once more; the environment is built before the clock starts."""
    kept = iter(script.readings)
    read = telemetry.read if collecting else lambda *_: next(kept)
    with reading_by(read):
        env = case.environment()
        wall, cpu = time.perf_counter(), time.process_time()
        for action in script.actions:
            if collecting:
                env.observe()
            env.act(action)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timing(wall, cpu, {name: tensor.clone() for name, tensor in env.network.state_dict().items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one case: overheads as shares of the training without collecting, and that training's wall seconds."""

    wall_overhead: dict[str, float]
    cpu_overhead: dict[str, float]
    training_s: dict[str, float]
    readings: int
    seeds: int
    held: bool

    @property
    def missed(self) -> bool:
        """Whether the target is held against it and not met."""
        return self.held and self.wall_overhead["median"] > TARGET


def measure(case: Case, runs: int) -> Figures:
    """Overheads of ``runs`` pairs of replays; the order within a pair alternates."""
    script = record(case)
    replay(case, script, collecting=True)  # warms up
    pairs: list[tuple[Timing, Timing]] = []
    for turn in range(runs):
        order = (True, False) if turn % 2 else (False, True)
        timed = {collecting: replay(case, script, collecting=collecting) for collecting in order}
        pairs.append((timed[True], timed[False]))
        if any(not torch.equal(tensor, timed[False].weights[name]) for name, tensor in timed[True].weights.items()):
            raise SystemExit(f"{case.name}: the two did not train the same network")
    return Figures(
        wall_overhead=spread([a.wall_s / b.wall_s - 1 for a, b in pairs]),
        cpu_overhead=spread([a.cpu_s / b.cpu_s - 1 for a, b in pairs]),
        training_s=spread([b.wall_s for _, b in pairs]),
        readings=len(script.readings),
        seeds=script.seeds,
        held=case.held,
    )


def main() -> None:
    """Measure every case, print, record; exit 3 when a case that is held misses the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.runs < 2:
        parser.error("--runs: at least 2, for the spread")
    with one_thread():
        cases = {}
        for case in CASES:
            print(f"measuring {case.name} ...", file=sys.stderr, flush=True)
            cases[case.name] = measure(case, arguments.runs)
    missed = [name for name, figures in cases.items() if figures.missed]
    plain = {"target": TARGET, "cases": {name: asdict(figures) for name, figures in cases.items()}}
    path = append("telemetry", plain, ["torch", "numpy"])
    if arguments.json:
        print(json.dumps({**plain, "missed": missed}))
    else:
        print(f"{'episode':18}{'overhead':>10}{'quartiles':>18}{'by CPU time':>13}{'training, s':>13}{'seeds':>7}")
        for name, figures in cases.items():
            wall = figures.wall_overhead
            quartiles = f"{wall['q1']:.1%} to {wall['q3']:.1%}"
            rest = f"{figures.cpu_overhead['median']:13.1%}{figures.training_s['median']:13.2f}{figures.seeds:7}"
            print(f"{name:18}{wall['median']:10.1%}{quartiles:>18}{rest}")
        print(f"target {TARGET:.0%} on final episodes: {'missed by ' + ', '.join(missed) if missed else 'met'}")
        print(f"written to {path}")
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
