"""Teaches growth policies and judges them by `growth_protocol.md`: heuristics, bandit, cloning, PPO, held-out tasks.

    python benchmarks/bench_growth_policy.py --smoke                       every part once, on the CPU, in minutes
    python benchmarks/bench_growth_policy.py teach --device cuda --out DIR [--seeds 0 1 2]
    python benchmarks/bench_growth_policy.py judge --device cuda --out DIR

``teach`` writes the search for habits, and for every seed the cloned policy and the one after PPO with their scores on
fresh episodes of the training levels; ``judge`` plays all methods on the held-out levels and writes the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.observation import Heads, Operation
from tamiyo_train.config import Episode, Prices
from tamiyo_train.policy import bandit, dagger, ppo
from tamiyo_train.policy.lane_deciders import (
    Chance,
    Habit,
    Kasminas,
    LaneDecider,
    MatchedChance,
    Networked,
    Waiting,
)
from tamiyo_train.policy.levels import EPISODE, FAMILIES, OFFERS, TAUGHT, UNSEEN, growth, unseen
from tamiyo_train.policy.network import HeadViews, PolicyNetwork
from tamiyo_train.policy.oracle import simulate
from tamiyo_train.policy.rollout import Rollout, drawn_lanes, repeated, roll, side_by_side
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.reward import utilities

SLOTS = 3
HEADS = Heads(slots=SLOTS, blueprints=len(OFFERS))
TRAINING, VALIDATION, HELD_OUT, REFERENCE = (
    range(10_000, 10_064),
    range(15_000, 15_020),
    range(20_000, 20_020),
    range(25_000, 25_020),
)
"""Seeds of weights: to learn from, to choose by, to be judged on, and for the oracle's choice on held-out levels."""
SHIPPED = Habit(patience=1, improvement=0.15, mature=0.05, trial=0.6, forward=False)
"""`KasminaSettings` as they ship."""
MAIN = ("tuned", "matched", "random", "bandit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything: the full run, or a smoke run in which nothing is learned well.

    ``every``: of the habits, take one in so many.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    unseen: tuple[str, ...] = tuple(UNSEEN)
    episode: Episode = EPISODE
    starts: tuple[int, ...] = (0, 1, 3)
    every: int = 1
    draws: int = 6
    finalists: int = 24
    final_draws: int = 40
    bandit_episodes: int = 40
    running: int = 8000
    validation: int = 500
    episodes: int = 40
    cloning: dagger.Cloning = dataclasses.field(default_factory=dagger.Cloning)
    ppo: ppo.Settings = dataclasses.field(default_factory=ppo.Settings)


SMOKE = Scale(
    families=("spirals", "spheres"),
    unseen=(),
    episode=replace(EPISODE, steps=60),
    starts=(0,),
    every=9,
    draws=1,
    finalists=4,
    final_draws=1,
    bandit_episodes=2,
    running=256,
    validation=10,
    episodes=4,
    cloning=dagger.Cloning(rounds=1, lanes=16, steps=30, batch=128),
    ppo=ppo.Settings(iterations=2, lanes=16, minibatches=2, inits=(10_000, 10_004)),
)


def say(text: str) -> None:
    """Progress, with seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


_STARTED = time.monotonic()


def training_envs(scale: Scale, device: str) -> dict[str, TensorGrowth]:
    """One environment a family, on all its training levels."""
    return {
        name: growth(FAMILIES[name].builder(), FAMILIES[name].training_data(), device=device, episode=scale.episode)
        for name in scale.families
    }


def held_out_envs(scale: Scale, device: str) -> dict[str, TensorGrowth]:
    """One environment a family, on all its held-out levels, and one for every data set that is held out as a whole."""
    envs = {
        name: growth(FAMILIES[name].builder(), FAMILIES[name].held_out_data(), device=device, episode=scale.episode)
        for name in scale.families
    }
    for name in scale.unseen:
        try:
            envs[name] = growth(*unseen(name), device=device, episode=scale.episode)
        except MissingExtraError:
            say(f"{name} is left out: its package is not installed")
    return envs


def teach(scale: Scale, device: str, out: Path, seeds: Sequence[int], *, variants: Sequence[str]) -> None:
    """Search habits, fit the bandit, and teach a policy from every seed."""
    envs = training_envs(scale, device)
    grid = grid_of(scale)
    rng = np.random.default_rng(1)
    kept = out / "search.json"
    if kept.exists():
        found = json.loads(kept.read_text())
        teachers = dagger.Teachers(
            tuned=Habit(**found["tuned"]),
            by_level={name: tuple(Habit(**h) for h in own) for name, own in found["by_level"].items()},
            utility={name: tuple(own) for name, own in found["utility"].items()},
        )
    else:
        say(f"{len(grid)} habits on the training levels")
        teachers = dagger.search(
            envs,
            grid,
            rng=rng,
            inits=TRAINING,
            draws=scale.draws,
            finalists=scale.finalists,
            final_draws=scale.final_draws,
        )
        write(kept, asdict(teachers))
        say(f"tuned: {teachers.tuned}; by level {teachers.utility}")
        fit_bandit(scale, envs, out)
        write(out / "prices.json", price_table(scale, envs))
    running = simulate(scale.running, SLOTS, seed=3)
    for seed in seeds:
        for variant in variants:
            teach_one(scale, envs, teachers, running, out=out, seed=seed, variant=variant)


def grid_of(scale: Scale) -> list[Habit]:
    """The habits that are searched."""
    return dagger.habit_grid(TAUGHT, starts=scale.starts)[:: scale.every]


def fit_bandit(scale: Scale, envs: Mapping[str, TensorGrowth], out: Path) -> None:
    """Fit and keep the bandit."""
    habits = bandit_habits(scale)
    made = bandit.fit(envs, habits, rng=np.random.default_rng(2), inits=TRAINING, episodes=scale.bandit_episodes)
    state = {name: tensor.cpu() for name, tensor in made.network.state_dict().items()}
    save_file({**state, "mean": made.mean.cpu(), "deviation": made.deviation.cpu()}, out / "bandit.safetensors")
    say("bandit fitted")


def bandit_habits(scale: Scale) -> list[Habit]:
    """Those that may start at once; for the bandit that is the second decision."""
    return [habit for habit in grid_of(scale) if habit.start == 0]


def load_bandit(scale: Scale, out: Path, device: str) -> bandit.Bandit:
    """The bandit as it was kept."""
    state = {name: tensor.to(device) for name, tensor in load_file(out / "bandit.safetensors").items()}
    mean, deviation = state.pop("mean"), state.pop("deviation")
    habits = bandit_habits(scale)
    network = torch.nn.Sequential(torch.nn.Linear(len(mean), 64), torch.nn.ReLU(), torch.nn.Linear(64, len(habits))).to(
        device
    )
    network.load_state_dict(state)
    return bandit.Bandit(habits, network, mean, deviation)


def teach_one(
    scale: Scale,
    envs: Mapping[str, TensorGrowth],
    teachers: dagger.Teachers,
    running: Any,
    *,
    out: Path,
    seed: int,
    variant: str,
) -> None:
    """Clone, then improve; ``variant``: "policy", or an ablation: "unshaped", "from-scratch"."""
    cloning = replace(scale.cloning, rounds=0, steps=1) if variant == "from-scratch" else scale.cloning
    network, (mean, deviation) = dagger.clone(
        envs,
        teachers,
        heads=HEADS,
        running=running,
        rng=np.random.default_rng(100 + seed),
        inits=TRAINING,
        seed=seed,
        config=cloning,
        on_round=lambda number, earned, loss: say(f"round {number}: utility {earned:.4f}, loss {loss:.3f}"),
    )
    cloned = finished(network, factor=deviation, shift=mean)
    settings = scale.ppo
    if variant == "unshaped":
        settings = replace(settings, shaping=0.0)
    elif variant == "from-scratch":
        settings = replace(settings, leash=0.0)
    learner = ppo.Learner(network, settings, scale=ppo.Scale(mean, deviation), running=running, seed=seed)
    history = learner.learn(envs, lambda p: say(f"{variant} {seed}: {json.dumps(p.to_json())}"))
    improved = finished(network)
    names = {"cloned": cloned, variant: improved} if variant == "policy" else {variant: improved}
    for name, made in names.items():
        figures = validate(scale, envs, made)
        say(f"{name} {seed}: validation {figures}")
        save_file(
            {key: tensor.contiguous().cpu() for key, tensor in made.state_dict().items()},
            out / f"{name}-{seed}.safetensors",
        )
        write(
            out / f"{name}-{seed}.json",
            {
                "seed": seed,
                "validation": figures,
                "cloning": asdict(cloning),
                "ppo": None if name == "cloned" else asdict(settings),
                "history": None if name == "cloned" else [step.to_json() for step in history],
            },
        )


def finished(network: PolicyNetwork, *, factor: float = 1.0, shift: float = 0.0) -> PolicyNetwork:
    """A copy as it may be kept: value in utility, blueprints that were never taught last."""
    made = PolicyNetwork(network.heads).to(network.mean.device)
    made.load_state_dict(network.state_dict())
    made.rescale_value(factor=factor, shift=shift)
    made.forget_blueprints([number for number in range(HEADS.blueprints) if number not in TAUGHT])
    return made.eval()


def validate(scale: Scale, envs: Mapping[str, TensorGrowth], network: PolicyNetwork) -> dict[str, float]:
    """Mean utility on fresh episodes of the training levels, by family and of all."""
    found = {}
    for name, env in envs.items():
        lanes = drawn_lanes(env, np.random.default_rng(7), count=scale.validation, inits=VALIDATION)
        found[name] = float(roll(env, lanes, Networked(network)).utility.mean())
    return {**found, "mean": float(np.mean(list(found.values())))}


def price_table(scale: Scale, envs: Mapping[str, TensorGrowth]) -> list[dict[str, Any]]:
    """Each price at 0 and at ten times its value: the habit that would be chosen, and what it comes to."""
    habits = bandit_habits(scale)
    rollouts = []
    for env in envs.values():
        lanes = drawn_lanes(env, np.random.default_rng(5), count=scale.bandit_episodes, inits=TRAINING)
        rollouts.append(
            (env, roll(env, repeated(lanes, len(habits)), Kasminas(habits * scale.bandit_episodes, device=env.device)))
        )
    rows = []
    plain = scale.episode.prices
    for name in (None, *(field.name for field in dataclasses.fields(Prices))):
        for factor in (1.0,) if name is None else (0.0, 10.0):
            prices = plain if name is None else replace(plain, **{name: factor * getattr(plain, name)})
            columns: dict[str, list[torch.Tensor]] = {}
            for env, rollout in rollouts:
                budget = env.table.host.new_tensor(env.lanes.budget.tolist()).to(env.device)
                shaped = {
                    "utility": utilities(rollout.result, budget, prices),
                    "accuracy": rollout.result.accuracy,
                    "params": rollout.result.cost[:, 0] / budget[:, 0],
                    "training": rollout.result.training_ratio,
                }
                for key, value in shaped.items():
                    columns.setdefault(key, []).append(value.reshape(-1, len(habits)).mean(0))
            means = {key: torch.stack(parts).mean(0) for key, parts in columns.items()}
            best = int(means["utility"].argmax())
            rows.append(
                {
                    "price": name or "as they are",
                    "times": factor,
                    "habit": asdict(habits[best]),
                    "accuracy": float(means["accuracy"][best]),
                    "params_of_budget": float(means["params"][best]),
                    "training_ratio": float(means["training"][best]),
                }
            )
    return rows


def judge(scale: Scale, device: str, out: Path) -> dict[str, Any]:
    """Play all methods on the held-out levels."""
    from benchmarks.growth_table import Table

    envs = held_out_envs(scale, device)
    search = json.loads((out / "search.json").read_text())
    tuned = Habit(**search["tuned"])
    learned = load_bandit(scale, out, device)
    nets = {path.stem: load_policy(path, device) for path in sorted(out.glob("*-[0-9]*.safetensors"))}
    table = Table()
    grid = grid_of(scale)
    say("oracle: habits on the held-out levels")
    oracle = dagger.search(
        envs,
        grid,
        rng=np.random.default_rng(11),
        inits=REFERENCE,
        draws=max(1, scale.draws // 2),
        finalists=scale.finalists,
        final_draws=max(1, scale.final_draws // 2),
    )
    lanes = {
        family: drawn_lanes(env, np.random.default_rng(13), count=scale.episodes * len(env.tasks), inits=HELD_OUT)
        for family, env in envs.items()
    }
    warm = False

    def play(name: str, seed: int | None, decider: Callable[[str], LaneDecider], **how: Any) -> dict[str, Rollout]:
        nonlocal warm
        jobs = {
            family: functools.partial(
                roll, env, lanes[family], decider(family), **{key: own[family] for key, own in how.items()}
            )
            for family, env in envs.items()
        }
        rollouts = side_by_side(jobs, warm=warm and device == "cuda")
        warm = True
        for family, rollout in rollouts.items():
            table.add(name, seed, family, envs[family], rollout)
        say(f"{name}{'' if seed is None else f' {seed}'} judged")
        return rollouts

    def habits(habit: Habit) -> Callable[[str], LaneDecider]:
        return lambda family: Kasminas([habit] * len(lanes[family].init), device=device)

    play("none", None, lambda family: Waiting())
    play("kasmina", None, habits(SHIPPED))
    play("tuned", None, habits(tuned))
    play("random", None, lambda family: Chance(17, device=device))
    play("bandit", None, lambda family: learned.begin())
    play("oracle", None, lambda family: oracle.for_lanes(family, lanes[family], envs[family].device))
    for stem, network in nets.items():
        name, _, number = stem.rpartition("-")
        seed = int(number)
        own = play(name, seed, lambda family, network=network: Networked(network))
        if name == "policy":
            play("matched", seed, lambda family, own=own, seed=seed: matched(own[family], seed=seed))
            play("twin", seed, lambda family: Waiting(), codes={f: rollout.codes for f, rollout in own.items()})
            for rollout in own.values():
                table.calibrate(network, rollout, HeadViews(HEADS))
    figures = table.figures(MAIN)
    figures["hashes"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("*.safetensors"))
    } | {"protocol": hashlib.sha256((Path(__file__).parent / "growth_protocol.md").read_bytes()).hexdigest()}
    figures["device"] = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    figures["policy_macs"] = EPISODE.decisions * sum(
        m.weight.numel() for m in PolicyNetwork(HEADS).modules() if isinstance(m, torch.nn.Linear)
    )
    write(out / "table.json", figures)
    print(table.text(figures))
    return figures


def matched(rollout: Rollout, *, seed: int) -> MatchedChance:
    """Chance with a policy's germinations."""
    actions = rollout.actions.transpose(0, 1)
    planted = actions[..., 0] == Operation.GERMINATE
    kinds = torch.where(planted, actions[..., 2], -1)
    return MatchedChance(kinds, actions[..., 3], decisions=actions.shape[1], seed=1000 + seed)


def load_policy(path: Path, device: str) -> PolicyNetwork:
    """A policy as it was kept."""
    network = PolicyNetwork(HEADS)
    network.load_state_dict(load_file(path))
    return network.to(device).eval()


def write(path: Path, document: Any) -> None:
    """JSON beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(document, indent=1, default=list) + "\n")
    beside.replace(path)


def main() -> int:
    """Teach, judge, or both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("teach", "judge", "all"), default="all")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "growth_policy")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", default=["policy"], choices=("policy", "unshaped", "from-scratch"))
    parser.add_argument("--iterations", type=int, help="of PPO, instead of those of the full run")
    parser.add_argument("--smoke", action="store_true", help="every part on very little work")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scale = SMOKE if arguments.smoke else Scale()
    if arguments.iterations is not None:
        scale = replace(scale, ppo=replace(scale.ppo, iterations=arguments.iterations))
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what != "judge":
        teach(scale, arguments.device, arguments.out, arguments.seeds, variants=arguments.variants)
    if arguments.what != "teach":
        judge(scale, arguments.device, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
