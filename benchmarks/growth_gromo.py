"""`gromo` under the growth protocol: same tasks, steps, batches and optimiser, several sizes, a JSON line a network.

    python benchmarks/growth_gromo.py tune --out DIR [--processes N]    settings, on training levels
    python benchmarks/growth_gromo.py judge --out DIR [--processes N]   held-out levels, 20 seeds, the settings that won

It starts from the width of the family's host, three hidden layers, and knows of no budget: each of ``ADDED`` makes
another network of its accuracy-cost front. Learning rate and when it grows are chosen by accuracy on the score split.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.gromo_peer import GromoSettings, grow
from benchmarks.growth_setting import HELD_OUT, TRAINING, say
from tamiyo_train.data import Tensors
from tamiyo_train.policy.levels import EPISODE, FAMILIES

ADDED = (0, 2, 4, 8, 16)
"""Units added at most to each layer in each of two rounds; 0: it stays as it is."""
RATES, ROUNDS = (3e-3, 1e-2), ((0.2, 0.4), (0.05, 0.15))
TUNED_ON = 3
"""Seeds a training level."""
TUNED_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network: which level of which kind, its seed, and how it grows."""

    family: str
    level: int
    held_out: bool
    seed: int
    added: int
    rate: float
    rounds: tuple[float, ...]


def tuning() -> Iterator[Job]:
    """Every setting on three training levels of every family."""
    for seed in range(TUNED_ON):
        for family, level, rate, rounds in itertools.product(FAMILIES, (0, 2, 4), RATES, ROUNDS):
            yield Job(
                family=family,
                level=level,
                held_out=False,
                seed=TRAINING[seed],
                added=TUNED_SIZE,
                rate=rate,
                rounds=rounds,
            )


def judging(rate: float, rounds: tuple[float, ...]) -> Iterator[Job]:
    """Every size on every held-out level."""
    for seed, added in itertools.product(HELD_OUT, ADDED):
        for name, family in FAMILIES.items():
            for level in range(len(family.held_out)):
                at = tuple(rounds) if added else ()
                yield Job(family=name, level=level, held_out=True, seed=seed, added=added, rate=rate, rounds=at)


@functools.cache
def _data(family: str, level: int, held_out: bool) -> Tensors:
    made = FAMILIES[family]
    return made.held_out_level(level) if held_out else made.training_level(level)


def play(job: Job) -> dict[str, object]:
    """Grow one network, in a process of its own."""
    torch.set_num_threads(1)
    family = FAMILIES[job.family]
    settings = GromoSettings(
        hidden=family.width,
        added=job.added,
        rounds=job.rounds,
        steps=EPISODE.steps,
        batch=EPISODE.batch,
        learning_rate=job.rate,
    )
    data = _data(job.family, job.level, job.held_out)
    result = grow(data, inputs=family.inputs, classes=family.classes, settings=settings, seed=job.seed)
    return {**asdict(job), **asdict(result)}


def winner(path: Path) -> tuple[float, tuple[float, ...]]:
    """Rate and rounds of the best mean accuracy on the score split of training levels, over what was tried of all."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    means: dict[tuple[float, tuple[float, ...]], list[float]] = {}
    for row in rows:
        means.setdefault((row["rate"], tuple(row["rounds"])), []).append(row["score_accuracy"])
    return max(means, key=lambda key: sum(means[key]) / len(means[key]))


def main() -> int:
    """Play what is not yet written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("tune", "judge"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "growth_policy")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"gromo-{arguments.what}.jsonl"
    jobs = list(tuning() if arguments.what == "tune" else judging(*winner(arguments.out / "gromo-tune.jsonl")))
    done = set()
    if path.exists():
        names = list(asdict(jobs[0]))
        for line in path.read_text().splitlines():
            row = json.loads(line)
            done.add(Job(**{name: row[name] for name in names} | {"rounds": tuple(row["rounds"])}))
    left = [job for job in jobs if job not in done]
    say(f"{len(left)} of {len(jobs)} networks to grow")
    with (
        path.open("a") as file,
        ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool,
    ):
        for number, future in enumerate(as_completed([pool.submit(play, job) for job in left])):
            file.write(json.dumps(future.result()) + "\n")
            file.flush()
            if number % 50 == 0:
                say(f"{number + 1} of {len(left)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
