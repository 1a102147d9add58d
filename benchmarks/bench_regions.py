"""Hosts of 12 to 16 slots: does splitting their budget over regions pay? Allocators against the flat policy, paired.

    python benchmarks/bench_regions.py explore --out DIR --seed 1          episodes under random splits, to learn from
    python benchmarks/bench_regions.py teach --out DIR                     the learned allocator, from all of them
    python benchmarks/bench_regions.py judge --out DIR --seed 1 [--levels held-out]
    python benchmarks/bench_regions.py table --out DIR [--levels held-out]

``explore`` and ``judge`` run until ``--seconds`` are over and keep every batch of episodes in DIR; each seed writes
files of its own, so that many processes share the work. The fast policy is the shipped one, everywhere.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.growth_statistics import compare
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.policy.lane_deciders import Habit, Kasminas, LaneDecider, Networked, Waiting
from tamiyo_train.policy.levels import EPISODE, FAMILIES, growth
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.rollout import Rollout, drawn_lanes, repeated, roll
from tamiyo_train.policy.shipped import network as shipped
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes
from tamiyo_train.regions import shipped as shipped_allocator
from tamiyo_train.regions.allocators import Allocator, ByNeed, Even
from tamiyo_train.regions.deciding import Acting
from tamiyo_train.regions.lanes import RegionalLanes
from tamiyo_train.regions.learned import Learned, Lesson, SplitWorth, Teaching, teach

LONG = replace(EPISODE, decisions=30)
"""A seed takes three operations: with more slots to fill there are more decisions, in as many steps."""
TRAINING, HELD_OUT = range(30_000, 30_400), range(40_000, 40_400)
"""Seeds of weights: to learn from and choose by, and to be judged on."""
LEARNED = "learned.safetensors"
PAIRS = (
    *(("learned", other) for other in ("flat", "by-need", "even", "last", "none")),
    *((other, "flat") for other in ("even", "by-need", "last", "even-surest", "even-turns", "drawn")),
    ("even-turns", "even-surest"),
    ("even", "even-surest"),
)
"""Methods that are compared."""
Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Deep:
    """A family of tasks on a host with many slots. ``taught``: the allocator learned on it."""

    family: str
    depth: int
    width: int
    taught: bool = True

    def build(self) -> Callable[[], Host]:
        """Makes its hosts."""
        family = FAMILIES[self.family]
        make = hosts.get(family.host)
        return functools.partial(
            make, shape=(family.inputs,), classes=family.classes, width=self.width, depth=self.depth
        )


DEEP = {
    "spirals": Deep(family="spirals", depth=12, width=6),
    "checkerboard": Deep(family="checkerboard", depth=16, width=6),
    "clusters": Deep(family="clusters", depth=14, width=4, taught=False),
}


class Drawn:
    """Splits drawn at random, a new one each time: even on average, from one region takes all to all alike."""

    name = "drawn"

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def shares(self, telemetry: Tensor) -> Tensor:
        """Dirichlet of concentration 1, and a total of 0.3 to 1."""
        lanes, regions = telemetry.shape[:2]
        split = self._rng.dirichlet(np.ones(regions), lanes) * self._rng.uniform(0.3, 1.0, (lanes, 1))
        return torch.from_numpy(split).to(telemetry.device)


class Last:
    """Everything to the region nearest to the answer: is there more to the learned allocator than this?"""

    name = "last"

    def shares(self, telemetry: Tensor) -> Tensor:
        """0, ..., 0, 1."""
        found = torch.zeros(telemetry.shape[:2], dtype=torch.float64, device=telemetry.device)
        found[:, -1] = 1.0
        return found


def environment(deep: Deep, *, held_out: bool, device: str, steps: int) -> TensorGrowth:
    """Episodes of a family on all its training or held-out levels."""
    family = FAMILIES[deep.family]
    data = family.held_out_data() if held_out else family.training_data()
    return growth(deep.build(), data, device=device, episode=replace(LONG, steps=steps))


def lanes_of(env: TensorGrowth, rng: np.random.Generator, *, count: int, inits: range) -> Lanes:
    """Lanes with budgets that bind: room for the cost of 1 to S seeds of middling size, on drawn profiles.

    Every limit lies above the bare host by a factor of its own on the same number of seeds, 0.7 to 2.
    """
    lanes = drawn_lanes(env, rng, count=count, inits=inits)
    slots = env.host.slots
    host = env.table.host.cpu()[lanes.profile]
    typical = env.table.parts.cpu()[lanes.profile, :, 1:].mean((1, 2))
    seeds = np.exp(rng.uniform(0.0, np.log(slots), count))[:, None]
    factors = torch.from_numpy(seeds * np.exp(rng.uniform(np.log(0.7), np.log(2.0), (count, host.shape[1]))))
    budget = host + factors * typical
    budget[:, :2] = budget[:, :2].round()
    budget[:, 4] = torch.inf
    return replace(lanes, budget=budget)


def methods(env: TensorGrowth, policy: PolicyNetwork, learned: Allocator) -> dict[str, Callable[[], LaneDecider]]:
    """Fresh deciders by name."""

    def regional(allocator: Allocator, acting: Acting = Acting.PLACE) -> Callable[[], LaneDecider]:
        return lambda: RegionalLanes(env, policy, allocator, acting=acting)

    flat = policy.with_slots(env.host.slots).to(env.device)
    found: dict[str, Callable[[], LaneDecider]] = {
        "none": Waiting,
        "flat": lambda: Networked(flat),
        "even": regional(Even()),
        "by-need": regional(ByNeed()),
        "even-turns": regional(Even(), Acting.TURNS),
        "even-surest": regional(Even(), Acting.SUREST),
        "learned": regional(learned),
        "last": regional(Last()),
        "drawn": regional(Drawn(3)),
        "kasmina": lambda: Kasminas([Habit(forward=False, seeds=env.host.slots)] * len(env.task), device=env.device),
    }
    return found


def batches(arguments: argparse.Namespace) -> Iterator[int]:
    """Numbers of batches until the time is up; the first is always played."""
    begun = time.monotonic()
    longest, number = 0.0, 0
    while number == 0 or time.monotonic() - begun + longest < arguments.seconds:
        before = time.monotonic()
        yield number
        longest = max(longest, time.monotonic() - before)
        number += 1


def room_of(env: TensorGrowth, lanes: Lanes) -> list[float]:
    """Seeds of middling size that each lane's budget has room for, by the tightest limit."""
    host, parts = env.table.host.cpu()[lanes.profile], env.table.parts.cpu()[lanes.profile, :, 1:]
    return ((lanes.budget - host) / parts.mean((1, 2)))[:, :4].amin(1).round(decimals=2).tolist()


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


def learned_of(out: Path, device: str) -> Allocator:
    """The learned allocator of this folder if one was taught there, else the shipped one."""
    if not (out / LEARNED).exists():
        return shipped_allocator.allocator().to(device)
    network = SplitWorth()
    network.load_state_dict(load_file(out / LEARNED))
    return Learned(network).to(device)


@dataclass(slots=True)
class Judged:
    """What was judged, a row an episode: its family and stratum, its budget's room, and figures by method."""

    families: list[str]
    strata: list[str]
    room: list[float]
    figures: dict[str, dict[str, list[float]]]

    @staticmethod
    def read(paths: Sequence[Path]) -> Judged:
        """All lines of all files."""
        found = Judged([], [], [], {})
        for path in paths:
            for text in path.read_text().splitlines():
                found._add(json.loads(text))
        return found

    def _add(self, line: dict[str, Any]) -> None:
        family, task = line.pop("family"), line.pop("task")
        line.pop("batch")
        self.room += line.pop("room", [float("nan")] * len(task))
        self.families += [family] * len(task)
        self.strata += [f"{family} {number}" for number in task]
        for method, own in line.items():
            row = self.figures.setdefault(method, {})
            for key, value in own.items():
                if key != "shares":
                    row.setdefault(key, []).extend(value if isinstance(value, list) else [value])


def table(arguments: argparse.Namespace) -> None:
    """Means by method, and paired differences of utility: interquartile means with bootstrapped intervals."""
    judged = Judged.read(sorted(arguments.out.glob(f"judge-{arguments.levels}-*.jsonl")))
    families, room = np.array(judged.families), np.array(judged.room)
    groups = {"all": np.ones(len(families), dtype=bool)}
    groups |= {name: families == name for name in DEEP if name in families}
    groups |= {"room for less than 3": room < 3, "room for 3 or more": room >= 3}
    groups = {name: where for name, where in groups.items() if where.any()}
    strata = np.unique(judged.strata, return_inverse=True)[1]
    figures: dict[str, Any] = {"episodes": {name: int(where.sum()) for name, where in groups.items()}}
    figures["methods"] = {method: means(row, groups) for method, row in judged.figures.items()}
    figures["differences"] = {}
    for first, second in PAIRS:
        if first in judged.figures and second in judged.figures:
            difference = np.array(judged.figures[first]["utility"]) - np.array(judged.figures[second]["utility"])
            figures["differences"][f"{first} less {second}"] = {
                name: {
                    "interquartile": compare(difference[where], strata[where]).to_json(),
                    "mean": compare(difference[where], strata[where], statistic=plain_mean).to_json(),
                }
                for name, where in groups.items()
            }
    (arguments.out / f"table-{arguments.levels}.json").write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def plain_mean(values: Any) -> Any:
    """Mean along the last axis."""
    return values.mean(axis=-1)


def means(row: dict[str, list[float]], groups: dict[str, Any]) -> dict[str, Any]:
    """Utility by group, and the other figures over all."""
    found: dict[str, Any] = {
        name: round(float(np.array(row["utility"])[where].mean()), 4) for name, where in groups.items()
    }
    found |= {key: round(float(np.mean(row[key])), 4) for key in ("accuracy", "params", "seeds", "depth")}
    return found | {"over": int(sum(row["over"])), "panics": round(sum(row["events"]) / len(row["utility"]), 4)}


def show(figures: dict[str, Any]) -> None:
    """The figures as text."""
    print(figures["episodes"])
    for method, row in figures["methods"].items():
        print(f"{method:12} " + ", ".join(f"{name} {value}" for name, value in row.items()))
    for name, by_group in figures["differences"].items():
        print(name)
        for group, own in by_group.items():
            middle, mean = own["interquartile"], own["mean"]
            print(
                f"  {group:22} {middle['mean']:+.4f} ({middle['low']:+.4f} to {middle['high']:+.4f})"
                f"  mean {mean['mean']:+.4f} ({mean['low']:+.4f} to {mean['high']:+.4f})"
            )


def main() -> int:
    """Explore, teach, judge, or show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("explore", "teach", "judge", "table"))
    parser.add_argument("--out", type=Path, required=True)
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
    {"explore": explore, "teach": teach_allocator, "judge": judge, "table": table}[arguments.what](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
