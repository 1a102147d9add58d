"""Judging: every method plays the same held-out episodes, and each play is kept as it is done.

Several processes may share the plays of one folder: each takes what it is told to, and what is there is not played
again. `growth_table` makes the table of what lies there.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.growth_calibration import calibration
from benchmarks.growth_setting import HEADS, HELD_OUT, REFERENCE, Scale, load_policy, say, write
from benchmarks.growth_teaching import grid_of, load_atlases, load_bandit, load_tutor
from benchmarks.growth_thrift import Thrift, Thrifty
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy import dagger
from tamiyo_train.policy.lane_deciders import Chance, Habit, Kasminas, LaneDecider, MatchedChance, Networked, Waiting
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.rollout import Rollout, drawn_lanes, roll, side_by_side
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes

THRIFT = Thrift(patience=3, until=13)
"""From the fourteenth decision on a seed that is germinated can not be kept any more."""
SHIPPED = Habit(patience=1, improvement=0.15, mature=0.05, trial=0.6, forward=False)
"""`KasminaSettings` as they ship."""
BESIDE = ("matched", "thrifty", "twin", "thrifty-twin")
"""What is played with a policy."""
_PARAMS, _MACS = LIMITS.index("params"), LIMITS.index("macs")
Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Who plays: ``name`` and, where there are several, ``seed``.

    ``inference_macs``: of the decider in an episode, charged as training, as are the readings of the network that it
    decides by unless it does not look. ``codes``: topologies to start from.
    """

    name: str
    seed: int | None
    decider: Callable[[str], LaneDecider]
    inference_macs: int = 0
    looks: bool = True
    codes: Mapping[str, torch.Tensor] | None = None

    @property
    def stem(self) -> str:
        """What its play is called."""
        return self.name if self.seed is None else f"{self.name}-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What the episodes of an examination are drawn with: seeds of weights, and of devices, budgets and batches."""

    inits: range = HELD_OUT
    seed: int = 13


class Court:
    """Held-out environments with the episodes that everybody plays.

    ``out``: the folder where plays are kept; ``learned``: where those who play lie, ``out`` unless given.
    """

    def __init__(
        self,
        scale: Scale,
        envs: Mapping[str, TensorGrowth],
        out: Path,
        *,
        learned: Path | None = None,
        draw: Draw | None = None,
    ) -> None:
        self.scale, self.envs, self.out, self.learned = scale, envs, out, learned or out
        self.device = str(next(iter(envs.values())).device)
        self.lanes = {name: held_out_lanes(env, scale.episodes, draw) for name, env in envs.items()}
        (out / "plays").mkdir(parents=True, exist_ok=True)

    def path(self, method: str) -> Path:
        """Where a play is kept."""
        return self.out / "plays" / f"{method}.npz"

    @property
    def warm(self) -> bool:
        """Whether nothing is left to be captured on the device."""
        return all(len(self.lanes[name].init) in env.warm for name, env in self.envs.items())

    def play(self, method: Method) -> dict[str, Rollout] | None:
        """Play and keep; None where it was there."""
        path = self.path(method.stem)
        if path.exists():
            return None
        jobs = {}
        for name, env in self.envs.items():
            codes = None if method.codes is None else method.codes[name]
            jobs[name] = functools.partial(roll, env, self.lanes[name], method.decider(name), codes=codes)
        rollouts = side_by_side(jobs, warm=self.warm)
        found: Columns = {}
        for name, rollout in rollouts.items():
            own = outcome(self.envs[name], self.lanes[name], rollout, method)
            found |= {f"{name}/{column}": values for column, values in own.items()}
        beside = path.with_suffix(".tmp.npz")
        np.savez_compressed(beside, **found)  # type: ignore[arg-type]  # numpy's stub knows no keyword arrays
        beside.replace(path)
        say(f"{method.stem} judged")
        return rollouts


def held_out_lanes(env: TensorGrowth, episodes: int, draw: Draw | None = None) -> Lanes:
    """``episodes`` a level: every held-out host equally often, with devices and budgets drawn for each."""
    draw = draw or Draw()
    lanes = drawn_lanes(env, np.random.default_rng(draw.seed), count=episodes * len(env.tasks), inits=draw.inits)
    turn = [number // len(env.tasks) % len(draw.inits) for number in range(len(lanes.init))]
    return replace(lanes, init=[draw.inits[number] for number in turn])


def outcome(env: TensorGrowth, lanes: Lanes, rollout: Rollout, method: Method) -> Columns:
    """What came of every episode that ``env`` has just played, with the decider's own work charged as training."""
    result, budget, prices = rollout.result, env.budget, env.config.prices
    alone = result.training_macs.double() / result.training_ratio
    deciding = method.inference_macs + env.reading_macs * method.looks
    own = deciding / alone
    over = ((result.cost > budget) & (env.table.host[env.profile] <= budget)).any(1)
    columns = {
        "utility": rollout.utility - prices.training_macs * own,
        "accuracy": result.accuracy,
        "test_accuracy": result.test_accuracy,
        "params": result.cost[:, _PARAMS],
        "macs": result.cost[:, _MACS],
        "training_macs": result.training_macs + deciding,
        "deciding_macs": deciding,
        "training_ratio": result.training_ratio + own,
        "events": result.events,
        "seeds": result.fossilised.sum(1),
        "violations": over,
        "task": env.task,
        "params_limit": budget[:, _PARAMS],
        "macs_limit": budget[:, _MACS],
        "host_macs": env.table.host[env.profile][:, _MACS],
    }
    found = {name: column.double().cpu().numpy() for name, column in columns.items()}
    return found | {"init": np.asarray(lanes.init, np.float64)}


def judge(court: Court, *, only: Sequence[str] | None = None) -> None:
    """Play what is not yet there: all methods and seeds, or those with a stem in ``only``."""

    def wanted(stem: str) -> bool:
        return not court.path(stem).exists() and (only is None or stem in only)

    for method in fixed_methods(court):
        if wanted(method.stem):
            court.play(method)
    if wanted("bandit"):
        court.play(bandit_of(court))
    if wanted("oracle"):
        oracle = oracle_of(court)
        court.play(Method(name="oracle", seed=None, decider=oracle))
    for path in sorted(court.learned.glob("*-[0-9]*.safetensors")):
        name, _, number = path.stem.rpartition("-")
        if name == "forecast":
            tutor = load_tutor(load_atlases(court.learned), path, court.device)
            if wanted(f"tutor-{number}"):
                begin = functools.partial(_begun, tutor, court.envs)
                macs = court.scale.episode.decisions * (0 if tutor.forecast is None else linear_macs(tutor.forecast))
                court.play(Method(name="tutor", seed=int(number), decider=begin, inference_macs=macs))
        elif name != "policy":
            if wanted(path.stem):
                court.play(networked(court, path))
        elif any(wanted(f"{stem}-{number}") for stem in (name, *BESIDE)):
            _judge_policy(court, path, [stem for stem in BESIDE if wanted(f"{stem}-{number}")])


def _begun(tutor: Any, envs: Mapping[str, TensorGrowth], family: str) -> LaneDecider:
    decider: LaneDecider = tutor.begin(family, envs[family])
    return decider


def fixed_methods(court: Court) -> list[Method]:
    """Those that learn nothing."""
    tuned = Habit(**json.loads((court.learned / "search.json").read_text())["tuned"])

    def habits(habit: Habit) -> Callable[[str], LaneDecider]:
        return lambda family: Kasminas([habit] * len(court.lanes[family].init), device=court.device)

    return [
        Method(name="none", seed=None, decider=lambda family: Waiting(), looks=False),
        Method(name="kasmina", seed=None, decider=habits(SHIPPED)),
        Method(name="tuned", seed=None, decider=habits(tuned)),
        Method(name="random", seed=None, decider=lambda family: Chance(17, device=court.device)),
    ]


def bandit_of(court: Court) -> Method:
    """The bandit as it was kept."""
    learned = load_bandit(court.scale, court.learned, court.device)
    macs = linear_macs(learned.network)
    return Method(name="bandit", seed=None, decider=lambda family: learned.begin(), inference_macs=macs)


def linear_macs(network: torch.nn.Module) -> int:
    """Multiply-accumulates of a plain chain of layers."""
    return sum(module.weight.numel() for module in network.modules() if isinstance(module, torch.nn.Linear))


def oracle_of(court: Court) -> Callable[[str], LaneDecider]:
    """The best habit of every held-out level, by other weights and batches; written down as it is found."""
    scale, path = court.scale, court.out / "oracle.json"
    if path.exists():
        teachers = dagger.Teachers.from_json(json.loads(path.read_text()))
    else:
        say("oracle: habits on the held-out levels")
        teachers = dagger.search(
            court.envs,
            grid_of(scale),
            rng=np.random.default_rng(11),
            inits=REFERENCE,
            draws=max(1, scale.draws // 2),
            finalists=scale.finalists,
            final_draws=max(1, scale.final_draws // 2),
        )
        write(path, asdict(teachers))
    return lambda family: teachers.for_lanes(family, court.lanes[family], court.envs[family].device)


def networked(court: Court, path: Path) -> Method:
    """A policy as it was kept."""
    network, (name, _, seed) = load_policy(path, court.device), path.stem.rpartition("-")
    macs = court.scale.episode.decisions * macs_of(network)
    return Method(name=name, seed=int(seed), decider=lambda family: Networked(network), inference_macs=macs)


def _judge_policy(court: Court, path: Path, beside: Sequence[str]) -> None:
    """The policy that is judged, and of `BESIDE`: chance with its germinations, itself held to thrift, static twins."""
    plain = networked(court, path)
    own = court.play(plain) or seen_again(court, plain)
    seed = int(path.stem.rpartition("-")[2])
    network = load_policy(path, court.device)
    write(court.out / "plays" / f"calibration-{seed}.json", calibration(network, list(own.values())))
    if "matched" in beside:
        court.play(Method(name="matched", seed=seed, decider=lambda family: matched(own[family], seed=seed)))
    if "twin" in beside:
        court.play(twin_of("twin", seed, own))
    if "thrifty" in beside or "thrifty-twin" in beside:
        held = replace(thrifty(court, plain, THRIFT), name="thrifty")
        saving = court.play(held) or seen_again(court, held)
        court.play(twin_of("thrifty-twin", seed, saving))


def thrifty(court: Court, method: Method, thrift: Thrift) -> Method:
    """A method held to thrift."""
    decisions = court.scale.episode.decisions
    return replace(method, decider=lambda family: Thrifty(method.decider(family), thrift, decisions=decisions))


def twin_of(name: str, seed: int, grown: Mapping[str, Rollout]) -> Method:
    """What was grown, from step 0."""
    codes = {family: rollout.codes for family, rollout in grown.items()}
    return Method(name=name, seed=seed, decider=lambda family: Waiting(), looks=False, codes=codes)


def seen_again(court: Court, method: Method) -> dict[str, Rollout]:
    """A play that was kept: what came of it is there, what was done is not."""
    jobs = {
        family: functools.partial(roll, env, court.lanes[family], method.decider(family))
        for family, env in court.envs.items()
    }
    return side_by_side(jobs, warm=court.warm)


def macs_of(network: PolicyNetwork) -> int:
    """Multiply-accumulates of one decision; layers of the slots count once a slot."""
    return sum(
        module.weight.numel() * (HEADS.slots if name.startswith("slot") and name != "slot_context" else 1)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear)
    )


def matched(rollout: Rollout, *, seed: int) -> MatchedChance:
    """Chance with a policy's germinations."""
    actions = rollout.actions.transpose(0, 1)
    planted = actions[..., 0] == Operation.GERMINATE
    kinds = torch.where(planted, actions[..., 2], -1)
    return MatchedChance(kinds, actions[..., 3], decisions=actions.shape[1], seed=1000 + seed)
