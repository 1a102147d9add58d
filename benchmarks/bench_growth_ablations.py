"""What each part of teaching a growth policy is worth: the same teaching without it, on the same episodes.

    python benchmarks/bench_growth_ablations.py --smoke                       every variant on very little work
    python benchmarks/bench_growth_ablations.py --device cuda --seeds 0 1     as in docs/policy.md
    python benchmarks/bench_growth_ablations.py --summarise LINES.jsonl ...   the table of lines made elsewhere

All variants of a seed play the same episodes of the held-out levels; those that begin with a cloned policy begin
with the same one. One JSON line a variant and policy seed goes to standard output and to ``ablations.jsonl``; the
table, with the spread over policy seeds, to ``ablations.json``. Smaller than the teaching of `bench_growth_policy`: it
says what a part adds to a short training, not what the longest one would come to without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.growth_ablation_table import FIGURES, REFERENCE, summary, text
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES, Heads
from tamiyo_train.config import Episode
from tamiyo_train.policy import dagger, ppo
from tamiyo_train.policy.lane_deciders import Habit, Kasminas, LaneDecider, Networked, Waiting
from tamiyo_train.policy.levels import EPISODE, FAMILIES, OFFERS
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples, simulate
from tamiyo_train.policy.rollout import drawn_lanes, roll
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes, Seen

RESULTS = Path(__file__).parent / "growth_policy"
SLOTS = 3
HEADS = Heads(slots=SLOTS, blueprints=len(OFFERS))
TRAINING, HELD_OUT = range(10_000, 10_064), range(20_000, 20_020)
HISTORY, COUNTERFACTUAL = ("loss_slope", "loss_curvature"), ("contribution", "utilisation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A teaching. ``blind``: features it is never shown; ``cloned``: whether it begins with cloning; ``improved``:
    whether PPO follows, with ``changes`` to its settings."""

    about: str
    blind: tuple[str, ...] = ()
    cloned: bool = True
    improved: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


VARIANTS = {
    REFERENCE: Variant(about="cloned, then PPO, with everything"),
    "cloned": Variant(about="cloning alone", improved=False),
    "unshaped": Variant(about="no shaping", changes={"shaping": 0.0}),
    "from-scratch": Variant(about="PPO from a random start, without a leash", cloned=False, changes={"leash": 0.0}),
    "no-leash": Variant(about="nothing holds it near the cloned policy", changes={"leash": 0.0}),
    "no-groups": Variant(about="a host of its own for every episode, none compared", changes={"group": 1}),
    "no-history": Variant(about="no slope or curvature of the loss", blind=HISTORY),
    "no-counterfactual": Variant(about="no contribution and no utilisation of a seed", blind=COUNTERFACTUAL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything. ``episodes``: judged on, a held-out level."""

    families: tuple[str, ...] = ("spirals", "checkerboard", "clusters")
    episode: Episode = EPISODE
    running: int = 2000
    episodes: int = 40
    draws: int = 4
    finalists: int = 12
    every: int = 3
    cloning: dagger.Cloning = field(default_factory=lambda: dagger.Cloning(rounds=2, lanes=512, steps=400))
    ppo: ppo.Settings = field(default_factory=lambda: ppo.Settings(iterations=12, lanes=512))


SMOKE = Scale(
    families=("spirals",),
    episode=replace(EPISODE, steps=30),
    running=64,
    episodes=2,
    draws=1,
    finalists=2,
    every=60,
    cloning=dagger.Cloning(rounds=0, lanes=10, steps=10, batch=64),
    ppo=ppo.Settings(iterations=1, lanes=16, minibatches=2),
)


class Blind(TensorGrowth):
    """Growth episodes in which some features are always 0: `hide` says which."""

    hidden: tuple[int, ...] = ()

    def hide(self, names: Sequence[str]) -> None:
        """Hide these features from now on, those of slots in every slot."""
        count, size = len(GLOBAL_FEATURES), len(SLOT_FEATURES)
        own = [GLOBAL_FEATURES.index(name) for name in names if name in GLOBAL_FEATURES]
        each = [SLOT_FEATURES.index(name) for name in names if name in SLOT_FEATURES]
        self.hidden = (*own, *(count + slot * size + index for slot in range(SLOTS) for index in each))

    def reset(self, lanes: Lanes) -> Seen:
        """See `TensorGrowth.reset`."""
        return self._hidden(super().reset(lanes))

    def act(self, actions: torch.Tensor) -> Seen:
        """See `TensorGrowth.act`."""
        return self._hidden(super().act(actions))

    def _hidden(self, seen: Seen) -> Seen:
        seen.vector[:, list(self.hidden)] = 0.0
        return seen


class LevelTeacher:
    """The best habit of each lane's level, whatever levels the lanes turn out to have."""

    def __init__(self, habits: Sequence[Habit], env: TensorGrowth) -> None:
        self._habits, self._env = habits, env
        self._play: Kasminas | None = None

    def decide(self, seen: Seen) -> torch.Tensor:
        """What the habit does."""
        if self._play is None:
            habits = [self._habits[task] for task in self._env.task.tolist()]
            self._play = Kasminas(habits, device=self._env.device)
        return self._play.decide(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTeachers:
    """Whom all variants are cloned from. See `dagger.Tutor`."""

    found: dagger.Teachers

    def begin(self, family: str, env: TensorGrowth) -> LevelTeacher:
        """A new play."""
        return LevelTeacher(self.found.by_level[family], env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Environments to learn in and to be judged in, by family, with teachers and simulated running devices."""

    scale: Scale
    training: Mapping[str, Blind]
    judging: Mapping[str, Blind]
    teachers: dagger.Teachers
    running: RunningSamples

    @staticmethod
    def of(scale: Scale, device: str) -> Bench:
        """Make the environments and find every level's teacher."""
        training = {name: _env(name, scale, device, held_out=False) for name in scale.families}
        grid = dagger.habit_grid(training[scale.families[0]].taught, starts=(0,))[:: scale.every]
        teachers = dagger.search(
            training,
            grid,
            rng=np.random.default_rng(1),
            inits=TRAINING,
            draws=scale.draws,
            finalists=scale.finalists,
            final_draws=scale.draws,
        )
        return Bench(
            scale=scale,
            training=training,
            judging={name: _env(name, scale, device, held_out=True) for name in scale.families},
            teachers=teachers,
            running=simulate(scale.running, SLOTS, seed=3),
        )

    def hide(self, names: Sequence[str]) -> None:
        """Hide features everywhere."""
        for env in (*self.training.values(), *self.judging.values()):
            env.hide(names)

    def judge(self, decider_of: Any) -> dict[str, dict[str, list[float]]]:
        """By family, means over the episodes of each held-out level, all of them the same for everybody.

        The utility of every episode as well: levels take turns in them.
        """
        found = {}
        for name, env in self.judging.items():
            lanes = drawn_lanes(
                env, np.random.default_rng(12), count=self.scale.episodes * len(env.tasks), inits=HELD_OUT
            )
            decider: LaneDecider = decider_of(len(lanes.init), env)
            rollout = roll(env, lanes, decider)
            result = rollout.result
            columns = (
                rollout.utility,
                result.test_accuracy,
                result.cost[:, 0],
                result.training_ratio,
                result.events,
            )
            found[name] = {
                key: column.double().reshape(-1, len(env.tasks)).mean(0).tolist()
                for key, column in zip(FIGURES, columns, strict=True)
            }
            found[name]["utility_of_episodes"] = [round(value, 6) for value in rollout.utility.tolist()]
        return found


def _env(name: str, scale: Scale, device: str, *, held_out: bool) -> Blind:
    from tamiyo_train.policy.levels import PROFILES, TAUGHT

    family = FAMILIES[name]
    data = family.held_out_data() if held_out else family.training_data()
    return Blind(
        family.builder(), data, scale.episode, blueprints=OFFERS, taught=TAUGHT, profiles=PROFILES, device=device
    )


def taught(bench: Bench, variant: Variant, seed: int, clones: dict[Any, Any]) -> PolicyNetwork:
    """A policy; what was cloned for another variant of the seed is taken from ``clones``."""
    scale = bench.scale
    key = (seed, variant.cloned, variant.blind)
    if key not in clones:
        cloning = scale.cloning if variant.cloned else replace(scale.cloning, rounds=0, steps=1)
        clones[key] = dagger.clone(
            bench.training,
            LevelTeachers(found=bench.teachers),
            heads=HEADS,
            running=bench.running,
            rng=np.random.default_rng(100 + seed),
            inits=TRAINING,
            seed=seed,
            config=cloning,
        )
    kept, (mean, deviation) = clones[key]
    network = PolicyNetwork(HEADS).to(kept.mean.device)
    network.load_state_dict(kept.state_dict())
    if variant.improved:
        settings = replace(scale.ppo, **variant.changes)
        learner = ppo.Learner(network, settings, scale=ppo.Scale(mean, deviation), running=bench.running, seed=seed)
        learner.learn(bench.training)
    return network.eval()


def run(scale: Scale, device: str, seeds: Sequence[int], names: Sequence[str], lines: Path) -> list[dict[str, Any]]:
    """Teach and judge every variant with every seed; a line each, and one for the bare host and the tuned habit."""
    began = time.monotonic()
    bench = Bench.of(scale, device)
    written: list[dict[str, Any]] = []

    def tell(name: str, about: str, seed: int | None, found: Mapping[str, Any]) -> None:
        line = {"variant": name, "about": about, "seed": seed, "judged": found, "settings": _settings(scale, device)}
        written.append(line)
        means = {family: {key: columns[key] for key in FIGURES} for family, columns in found.items()}
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({**line, "judged": means, "settings": None, "seconds": seconds}), flush=True)
        with lines.open("a") as file:
            file.write(json.dumps(line) + "\n")

    tuned: Habit = bench.teachers.tuned
    tell("none", "waits", None, bench.judge(lambda count, env: Waiting()))
    tell("tuned", "the best habit", None, bench.judge(lambda count, env: Kasminas([tuned] * count, device=env.device)))
    for seed in seeds:
        clones: dict[Any, Any] = {}
        for name in names:
            variant = VARIANTS[name]
            bench.hide(variant.blind)
            network = taught(bench, variant, seed, clones)
            tell(name, variant.about, seed, bench.judge(lambda count, env, network=network: Networked(network)))
            bench.hide(())
    return written


def _settings(scale: Scale, device: str) -> dict[str, Any]:
    """What the figures depend on, so that lines of different runs are not mixed."""
    return {
        "families": list(scale.families),
        "steps": scale.episode.steps,
        "episodes_a_level": scale.episodes,
        "cloning": asdict(scale.cloning),
        "ppo": asdict(scale.ppo),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
    }


def main() -> int:
    """Run, or put lines of several runs together."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES))
    parser.add_argument(
        "--summarise", type=Path, nargs="+", metavar="LINES", help="only write the table of these lines"
    )
    parser.add_argument("--smoke", action="store_true", help="every variant on very little work")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.summarise:
        parts = [path.read_text().splitlines() for path in arguments.summarise]
        unique = {(line["variant"], line["seed"]): line for part in parts for line in map(json.loads, part)}
        lines = list(unique.values())
    else:
        scale = SMOKE if arguments.smoke else Scale()
        if arguments.families:
            scale = replace(scale, families=tuple(arguments.families))
        kept = arguments.out / "ablations.jsonl"
        kept.unlink(missing_ok=True)
        lines = run(scale, arguments.device, arguments.seeds, arguments.variants, kept)
    table = summary(lines)
    (arguments.out / "ablations.json").write_text(json.dumps(table, indent=1) + "\n")
    print(text(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
