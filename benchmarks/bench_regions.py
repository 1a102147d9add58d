"""Hosts of 12 to 16 slots: does splitting their budget over regions pay? Allocators against the flat policy, paired.

    python benchmarks/bench_regions.py                                some episodes again: fails where they fell behind
    python benchmarks/bench_regions.py explore --out DIR --seed 1          episodes under random splits, to learn from
    python benchmarks/bench_regions.py teach --out DIR                     the learned allocator, from all of them
    python benchmarks/bench_regions.py judge --out DIR --seed 1 [--levels held-out]
    python benchmarks/bench_regions.py table --out DIR [--levels held-out]

``explore`` and ``judge`` run until ``--seconds`` are over and keep every batch of episodes in DIR; each seed writes
files of its own, so that many processes share the work. The fast policy is the shipped one, everywhere; what is kept in
``benchmarks/regions`` but ``check.json`` is of the one that was shipped before it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import results
from benchmarks.growth_recheck import holds
from benchmarks.regions_setting import (
    DEEP,
    HELD_OUT,
    LEARNED,
    LONG,
    TRAINING,
    Drawn,
    environment,
    lanes_of,
    learned_of,
    methods,
    room_of,
)
from benchmarks.regions_table import Judged, figures_of, show
from tamiyo_train.policy.rollout import Rollout, repeated, roll
from tamiyo_train.policy.shipped import network as shipped
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.regions.lanes import RegionalLanes
from tamiyo_train.regions.learned import Lesson, Teaching, teach

RECORDED = Path(__file__).parent / "regions" / "check.json"
CHECKED = ("none", "flat", "learned")
"""Who plays in the check, on `EPISODES` held-out episodes of every family."""
EPISODES = 6
Tensor = torch.Tensor


def batches(arguments: argparse.Namespace) -> Iterator[int]:
    """Numbers of batches until the time is up; the first is always played."""
    begun = time.monotonic()
    longest, number = 0.0, 0
    while number == 0 or time.monotonic() - begun + longest < arguments.seconds:
        before = time.monotonic()
        yield number
        longest = max(longest, time.monotonic() - before)
        number += 1


def append(path: Path, line: dict[str, Any]) -> None:
    """A line of JSON more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def explore(arguments: argparse.Namespace) -> None:
    """Groups of episodes that differ in nothing but their splits."""
    policy = shipped()
    envs = {
        name: environment(deep, held_out=False, device=arguments.device, steps=arguments.steps)
        for name, deep in DEEP.items()
        if deep.taught and name in arguments.families
    }
    rng = np.random.default_rng(1000 + arguments.seed)
    for number in batches(arguments):
        for name, env in envs.items():
            lanes = repeated(
                lanes_of(env, rng, count=arguments.lanes // arguments.group, inits=TRAINING), arguments.group
            )
            decider = RegionalLanes(env, policy, Drawn(arguments.seed * 10_000 + number))
            rollout = roll(env, lanes, decider)
            telemetry, shares = (torch.stack(each, 1).cpu().numpy() for each in zip(*decider.splits, strict=True))
            arguments.out.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(
                arguments.out / f"explore-{name}-{arguments.seed}-{number}.npz",
                group=arguments.group,
                utility=rollout.utility.cpu().numpy(),
                telemetry=telemetry.astype(np.float16),
                shares=shares.astype(np.float16),
            )


def rounded(tensor: Tensor) -> Any:
    """As nested lists of four digits."""
    return np.round(tensor.cpu().numpy().astype(np.float64), 4).tolist()


def judge(arguments: argparse.Namespace) -> None:
    """Every method on the same lanes, batch by batch."""
    policy = shipped()
    held_out = arguments.levels == "held-out"
    envs = {
        name: environment(deep, held_out=held_out, device=arguments.device, steps=arguments.steps)
        for name, deep in DEEP.items()
        if name in arguments.families
    }
    rng = np.random.default_rng(2000 + arguments.seed)
    for number in batches(arguments):
        for name, env in envs.items():
            lanes = lanes_of(env, rng, count=arguments.lanes, inits=HELD_OUT if held_out else TRAINING)
            line: dict[str, Any] = {"family": name, "batch": number, "task": lanes.task.tolist()}
            line["room"] = room_of(env, lanes)
            makers = methods(env, policy, learned_of(arguments.out, arguments.device))
            for method in arguments.methods or makers:
                env.reset(lanes)
                begun = time.monotonic()
                decider = makers[method]()
                line[method] = figures(env, roll(env, lanes, decider), time.monotonic() - begun)
                if isinstance(decider, RegionalLanes):
                    line[method]["shares"] = [rounded(s.mean(0)) for _, s in decider.splits]
            append(arguments.out / f"judge-{arguments.levels}-{arguments.seed}.jsonl", line)


def figures(env: TensorGrowth, rollout: Rollout, seconds: float) -> dict[str, Any]:
    """What came of a batch of episodes."""
    result = rollout.result
    host = env.table.host[env.profile]
    over = ((result.cost > env.budget) & (host <= env.budget)).any(1)
    slots = torch.arange(env.host.slots, device=env.device, dtype=torch.float64)
    count = result.fossilised.sum(1)
    return {
        "utility": [round(u, 6) for u in rollout.utility.tolist()],
        "accuracy": [round(a, 4) for a in result.test_accuracy.tolist()],
        "params": [int(p) for p in result.cost[:, 0].tolist()],
        "seeds": count.tolist(),
        "depth": float((result.fossilised * slots).sum() / count.sum().clamp_min(1)) / max(1, env.host.slots - 1),
        "over": int(over.sum()),
        "events": int(result.events.sum()),
        "seconds": round(seconds, 1),
    }


def teach_allocator(arguments: argparse.Namespace) -> None:
    """Fit the learned allocator to everything that was explored."""
    begun = time.monotonic()
    lessons = []
    for name in DEEP:
        parts = [np.load(path) for path in sorted(arguments.out.glob(f"explore-{name}-*.npz"))]
        if parts:
            groups = [
                [part[key].reshape(-1, int(part["group"]), *part[key].shape[1:]) for part in parts]
                for key in ("telemetry", "shares", "utility")
            ]
            telemetry, shares, utility = (torch.from_numpy(np.concatenate(each)).double() for each in groups)
            lessons.append(Lesson(telemetry=telemetry.float(), shares=shares.float(), utility=utility))
    network, explained = teach(lessons, config=Teaching(), seed=arguments.seed)
    save_file(network.state_dict(), arguments.out / LEARNED)
    card = {
        "groups": [len(lesson) for lesson in lessons],
        "explained": explained,
        "deviation": [float((lesson.utility - lesson.utility.mean(1, keepdim=True)).std()) for lesson in lessons],
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": round(time.monotonic() - begun, 1),
    }
    (arguments.out / "learned.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card))


def table(arguments: argparse.Namespace) -> None:
    """What was judged, as a table."""
    found = figures_of(Judged.read(sorted(arguments.out.glob(f"judge-{arguments.levels}-*.jsonl"))))
    (arguments.out / f"table-{arguments.levels}.json").write_text(json.dumps(found, indent=1) + "\n")
    show(found)


def checked(*, episodes: int, steps: int) -> dict[str, Any]:
    """Mean utility above the bare host's on ``episodes`` a family, and how many committed networks exceed a limit."""
    policy, gains, over = shipped(), {name: [] for name in CHECKED[1:]}, 0
    for name, deep in DEEP.items():
        env = environment(deep, held_out=True, device="cpu", steps=steps)
        lanes = lanes_of(env, np.random.default_rng(2000), count=episodes, inits=HELD_OUT)
        makers = methods(env, policy, learned_of(None, "cpu"))
        found = {}
        for method in CHECKED:
            env.reset(lanes)
            found[method] = figures(env, roll(env, lanes, makers[method]()), 0.0)
            over += found[method]["over"]
        for method, own in gains.items():
            own.append(float(np.mean(found[method]["utility"]) - np.mean(found["none"]["utility"])))
        print(f"{name}: " + ", ".join(f"{method} {own[-1]:+.4f}" for method, own in gains.items()), flush=True)
    return {"above the bare host": {method: float(np.mean(own)) for method, own in gains.items()}, "over": over}


def check() -> int:
    """Play, print, keep a line; 1 where the flat policy or the allocator fell behind, or a limit was exceeded."""
    started = time.monotonic()
    found, recorded = checked(episodes=EPISODES, steps=LONG.steps), json.loads(RECORDED.read_text())
    own, before = (each["above the bare host"] for each in (found, recorded))
    held = found["over"] == 0 and all(holds(own[method], before[method]) for method in before)
    results.append(
        "regions", {**found, "recorded": before, "held": held, "seconds": time.monotonic() - started}, ["torch"]
    )
    for method, gain in own.items():
        print(f"{method}: {gain:+.4f} above the bare host, {before[method]:+.4f} when it was recorded")
    if not held:
        print(f"FAILS: more than a tenth behind, or {found['over']} limits exceeded", file=sys.stderr)
    return 0 if held else 1


def main() -> int:
    """Check, explore, teach, judge, or show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("check", "explore", "teach", "judge", "table"), default="check")
    parser.add_argument("--out", type=Path, help="folder of everything but the check")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no batch that would end later")
    parser.add_argument("--lanes", type=int, default=60)
    parser.add_argument("--group", type=int, default=6)
    parser.add_argument("--steps", type=int, default=LONG.steps)
    parser.add_argument("--levels", default="held-out", choices=("training", "held-out"))
    parser.add_argument("--families", nargs="+", default=list(DEEP), choices=list(DEEP))
    parser.add_argument("--methods", nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "check":
        return check()
    if arguments.out is None:
        parser.error(f"{arguments.what} needs --out")
    {"explore": explore, "teach": teach_allocator, "judge": judge, "table": table}[arguments.what](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
