"""Teaching growth policies: the search for habits, the atlas, the bandit, and per seed a forecast, a clone and PPO.

Everything is written as it is done and taken up where it was left, PPO to the last iteration.
"""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.growth_setting import (
    HEADS,
    SLOTS,
    TRAINING,
    VALIDATION,
    Scale,
    keep,
    kept,
    load_policy,
    say,
    untaught,
    write,
)
from benchmarks.growth_statistics import interquartile_mean
from tamiyo_train.policy import atlas, bandit, dagger, foresight, ppo
from tamiyo_train.policy.lane_deciders import Habit, Kasminas, LaneDecider, Networked
from tamiyo_train.policy.levels import TAUGHT
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples, simulate
from tamiyo_train.policy.rollout import drawn_lanes, roll, side_by_side
from tamiyo_train.population.growth import TensorGrowth

Envs = Mapping[str, TensorGrowth]


def searched(scale: Scale, envs: Envs, out: Path) -> dagger.Teachers:
    """The habits: the tuned heuristic and the best of every level."""
    path = out / "search.json"
    if path.exists():
        return dagger.Teachers.from_json(json.loads(path.read_text()))
    teachers = dagger.search(
        envs,
        grid_of(scale),
        rng=np.random.default_rng(1),
        inits=TRAINING,
        draws=scale.draws,
        finalists=scale.finalists,
        final_draws=scale.final_draws,
    )
    write(path, asdict(teachers))
    say(f"searched; tuned: {teachers.tuned}; by level {teachers.utility}")
    return teachers


def surveyed(scale: Scale, envs: Envs, out: Path) -> dict[str, atlas.Atlas]:
    """The atlas of every family, each written as it is made."""
    found = {}
    for number, (name, env) in enumerate(envs.items()):
        path = out / f"atlas-{name}.json"
        if not path.exists():
            made = atlas.survey(env, scale.survey, rng=np.random.default_rng(40 + number), inits=TRAINING)
            write(path, made.to_json())
            say(f"{name} surveyed: {made.late.tolist()} of a gain left by decision")
        found[name] = atlas.Atlas.from_json(json.loads(path.read_text()))
    return found


def grid_of(scale: Scale) -> list[Habit]:
    """The habits that are searched."""
    return dagger.habit_grid(TAUGHT, starts=scale.starts)[:: scale.every]


def bandit_habits(scale: Scale) -> list[Habit]:
    """Those that may start at once; for the bandit that is the second decision."""
    return [habit for habit in grid_of(scale) if habit.start == 0]


def fitted_bandit(scale: Scale, envs: Envs, out: Path) -> None:
    """Fit and keep the bandit, unless there is one."""
    if (out / "bandit.safetensors").exists():
        return
    habits = bandit_habits(scale)
    made = bandit.fit(envs, habits, rng=np.random.default_rng(2), inits=TRAINING, episodes=scale.bandit_episodes)
    state = {name: tensor.cpu() for name, tensor in made.network.state_dict().items()}
    save_file({**state, "mean": made.mean.cpu(), "deviation": made.deviation.cpu()}, out / "bandit.safetensors")
    say("bandit fitted")


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


def tutor_of(scale: Scale, envs: Envs, atlases: Mapping[str, atlas.Atlas], out: Path, seed: int) -> foresight.Tutor:
    """The tutor of a seed, as it was kept or fitted now."""
    path = out / f"forecast-{seed}.safetensors"
    if not path.exists():
        tutor = foresight.learn(
            envs,
            atlases,
            rng=np.random.default_rng(300 + seed),
            inits=TRAINING,
            lanes=scale.forecast_lanes,
            steps=scale.forecast_steps,
            seed=seed,
        )
        assert tutor.forecast is not None
        save_file({name: tensor.contiguous().cpu() for name, tensor in tutor.forecast.state_dict().items()}, path)
        say(f"forecast {seed} fitted")
    return load_tutor(atlases, path, str(next(iter(envs.values())).device))


def load_tutor(atlases: Mapping[str, atlas.Atlas], path: Path, device: str) -> foresight.Tutor:
    """A tutor with the forecast that was kept."""
    state = load_file(path)
    forecast = foresight.Forecast(len(state["mean"]), len(state["middle"]))
    forecast.load_state_dict(state)
    return foresight.Tutor(atlases, forecast.to(device).eval())


def load_atlases(out: Path) -> dict[str, atlas.Atlas]:
    """The atlases that were kept, by family."""
    return {
        path.stem.removeprefix("atlas-"): atlas.Atlas.from_json(json.loads(path.read_text()))
        for path in sorted(out.glob("atlas-*.json"))
    }


def teach(scale: Scale, envs: Envs, tutor: foresight.Tutor, tuned: Habit, *, out: Path, seed: int) -> None:
    """Clone, improve, keep the better of the two."""
    if (out / f"policy-{seed}.json").exists():
        return
    running = simulate(scale.running, SLOTS, seed=3)
    device = next(iter(envs.values())).device
    state = cloned(scale, envs, tutor, running, out=out, seed=seed)
    network, (mean, deviation) = _network(state, device)
    learner = ppo.Learner(network, scale.ppo, scale=ppo.Scale(mean, deviation), running=running, seed=seed)
    going = out / f"ppo-{seed}.pt"
    before = kept(going, str(device))
    if before is not None:
        learner.take_up(before)
    last = time.monotonic()

    def told(progress: ppo.Progress) -> None:
        nonlocal last
        took, last = time.monotonic() - last, time.monotonic()
        say(f"ppo {seed}: {took:.1f} s, {json.dumps(progress.to_json())}")
        keep(going, learner.state())

    history = learner.learn(envs, told)
    validated(scale, envs, finished(network), "ppo", seed, out, scale.ppo, history)
    choose(scale, envs, tuned, out, seed)


def choose(scale: Scale, envs: Envs, tuned: Habit, out: Path, seed: int) -> str:
    """Keep as the policy of a seed its clone or what PPO made of it: by what it is judged by, on training levels."""
    path = out / "validation-tuned.npz"
    if not path.exists():
        habits = [tuned] * scale.validation
        validation(scale, envs, {name: Kasminas(habits, device=env.device) for name, env in envs.items()}, path)
    found = {}
    for stage in ("cloned", "ppo"):
        own = out / f"validation-{stage}-{seed}.npz"
        if not own.exists():
            network = load_policy(out / f"{stage}-{seed}.safetensors", str(next(iter(envs.values())).device))
            validation(scale, envs, {name: Networked(network) for name in envs}, own)
        found[stage] = over(own, path)
    best = max(found, key=lambda stage: found[stage])
    say(f"seed {seed}: interquartile mean over the tuned heuristic on training levels {found}, so {best}")
    shutil.copyfile(out / f"{best}-{seed}.safetensors", out / f"policy-{seed}.safetensors")
    recipe = json.loads((out / f"{best}-{seed}.json").read_text())
    write(out / f"policy-{seed}.json", {**recipe, "stage": best, "over_tuned": found})
    return best


def over(ours: Path, theirs: Path) -> float:
    """Interquartile mean of the paired differences of two validations."""
    with np.load(ours) as a, np.load(theirs) as b:
        return float(interquartile_mean(np.concatenate([a[name] - b[name] for name in a.files])))


def cloned(
    scale: Scale, envs: Envs, tutor: foresight.Tutor, running: RunningSamples, *, out: Path, seed: int
) -> dict[str, Any]:
    """The network with the scale of its values, as kept or taught now."""
    path = out / f"cloned-{seed}.pt"
    before = kept(path, str(next(iter(envs.values())).device))
    if before is not None:
        return before
    network, (mean, deviation) = dagger.clone(
        envs,
        tutor,
        heads=HEADS,
        running=running,
        rng=np.random.default_rng(100 + seed),
        inits=TRAINING,
        seed=seed,
        config=scale.cloning,
        on_round=lambda number, earned, loss: say(f"round {number}: utility {earned:.4f}, loss {loss:.3f}"),
    )
    state = {"network": network.state_dict(), "scale": [mean, deviation]}
    validated(scale, envs, finished(network, factor=deviation, shift=mean), "cloned", seed, out)
    keep(path, state)
    return state


def _network(state: Mapping[str, Any], device: torch.device) -> tuple[PolicyNetwork, tuple[float, float]]:
    network = PolicyNetwork(HEADS).to(device)
    network.load_state_dict(state["network"])
    mean, deviation = state["scale"]
    return network, (mean, deviation)


def validated(
    scale: Scale,
    envs: Envs,
    network: PolicyNetwork,
    name: str,
    seed: int,
    out: Path,
    settings: ppo.Settings | None = None,
    history: Sequence[ppo.Progress] = (),
) -> dict[str, float]:
    """Try a policy on fresh episodes of the training levels, and keep it with its recipe."""
    path = out / f"validation-{name}-{seed}.npz"
    figures = validation(scale, envs, {family: Networked(network) for family in envs}, path)
    say(f"{name} {seed}: validation {figures}")
    state = {key: tensor.contiguous().cpu() for key, tensor in network.state_dict().items()}
    save_file(state, out / f"{name}-{seed}.safetensors")
    recipe = {"seed": seed, "validation": figures, "cloning": asdict(scale.cloning)}
    taught = {"ppo": asdict(settings) if settings else None, "history": [step.to_json() for step in history]}
    write(out / f"{name}-{seed}.json", recipe | taught)
    return figures


def finished(network: PolicyNetwork, *, factor: float = 1.0, shift: float = 0.0) -> PolicyNetwork:
    """A copy as it may be kept: value in utility, blueprints that were never taught last."""
    made = PolicyNetwork(network.heads).to(network.mean.device)
    made.load_state_dict(network.state_dict())
    made.rescale_value(factor=factor, shift=shift)
    made.forget_blueprints(untaught())
    return made.eval()


def validation(scale: Scale, envs: Envs, deciders: Mapping[str, LaneDecider], path: Path) -> dict[str, float]:
    """Mean utility on fresh episodes of the training levels, by family and of all; each one's is kept at ``path``."""
    jobs = {}
    for name, env in envs.items():
        lanes = drawn_lanes(env, np.random.default_rng(7), count=scale.validation, inits=VALIDATION)
        jobs[name] = functools.partial(roll, env, lanes, deciders[name])
    rollouts = side_by_side(jobs, warm=all(scale.validation in env.warm for env in envs.values()))
    each = {name: rollout.utility.cpu().numpy() for name, rollout in rollouts.items()}
    beside = path.with_suffix(".tmp.npz")
    np.savez_compressed(beside, **each)
    beside.replace(path)
    found = {name: float(values.mean()) for name, values in each.items()}
    return {**found, "mean": float(np.mean(list(found.values())))}
