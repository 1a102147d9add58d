"""An examination: networks grown from seeds nobody has seen, every condition of the stage's gate measured on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from tamiyo_train.config import TrainConfig
from tamiyo_train.curriculum import measures_pair  # noqa: F401  (its measures register themselves)
from tamiyo_train.curriculum.conditions import Condition, Evidence, Sense, Verdict, of_values
from tamiyo_train.curriculum.course import Outcome
from tamiyo_train.curriculum.measures import AGAINST_BARE_HOST, Examined, Judge, networks, wholes
from tamiyo_train.curriculum.pupil import Pupil
from tamiyo_train.curriculum.stage import Stage
from tamiyo_train.evaluation import network_result
from tamiyo_train.growing import Beside, Grown, grow
from tamiyo_train.jobs import trained
from tamiyo_train.pool import Counter, Workers
from tamiyo_train.run import NetworkResult

Policy = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One network of an examination: what came of it and what it took. ``figures``: measures by name."""

    grown: Grown
    ungrown: NetworkResult | None
    figures: Mapping[str, float]
    training_macs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A stage's gate, condition by condition, and what the examination took. ``beside``: networks of the stage's other
    tasks, by task."""

    stage: str
    verdicts: tuple[Verdict, ...]
    tried: tuple[Tried, ...]
    beside: Mapping[str, tuple[Tried, ...]]

    @property
    def passed(self) -> bool:
        """Whether every condition holds at its 95 % bound."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def training_macs(self) -> int:
        """Multiply-accumulates of all training for it."""
        return sum(one.training_macs for tried in (self.tried, *self.beside.values()) for one in tried)

    def outcome(self, rehearsed: Mapping[str, float]) -> Outcome:
        """What the course needs to know of it."""
        return Outcome(passed=self.passed, success=merit(self.verdicts[0]), rehearsed=rehearsed)


def merit(verdict: Verdict) -> float:
    """The mean of a success metric so that more is better; minus infinity when it was not measured."""
    estimate = verdict.evidence.estimate
    if estimate is None:
        return float("-inf")
    return estimate if verdict.condition.sense is Sense.AT_LEAST else -estimate


def try_one(
    config: TrainConfig,
    method: str,
    policy: Policy | None,
    conditions: tuple[Condition, ...],
    counter: Counter | None = None,
) -> Tried:
    """Grow one network and take every measure of a network that the conditions name: a job of its own."""
    began = time.perf_counter()
    grown = grow(config, method, policy, Beside(counter=counter))
    asked = [condition.measure for condition in conditions]
    bare, ungrown = None, None
    if not AGAINST_BARE_HOST.isdisjoint(asked):
        host = trained(config, {})
        bare = host.network
        ungrown = network_result(bare, host.data, host.training_macs, config.final.total_steps)
    pupil = Pupil(config=config, grown=grown, ungrown=ungrown, bare=bare)
    figures = {name: float(networks.get(name)(pupil)) for name in asked if name in networks.names()}
    return Tried(
        grown=grown,
        ungrown=ungrown,
        figures=figures,
        training_macs=grown.result.training_macs + (0 if ungrown is None else ungrown.training_macs),
        seconds=time.perf_counter() - began,
    )


def judged(
    stage: Stage,
    tried: tuple[Tried, ...],
    configs: tuple[TrainConfig, ...],
    *,
    beside: Mapping[str, tuple[Tried, ...]],
    whole: Callable[[str, Examined], Evidence],
    seed: int,
    workers: Workers,
    faults: int,
    judge: Judge | None = None,
) -> Examination:
    """The gate of a stage by what its networks gave, those of its other tasks ``beside`` them.

    ``whole`` takes a measure of the stage as a whole, so that a caller may keep what takes long.
    """
    pupils = tuple(
        Pupil(config=config, grown=one.grown, ungrown=one.ungrown) for config, one in zip(configs, tried, strict=True)
    )
    examined = Examined(pupils=pupils, seed=seed, workers=workers, faults=faults, judge=judge)

    def evidence(condition: Condition) -> Evidence:
        if condition.measure in networks.names():
            asked = tried if condition.task is None else beside[condition.task]
            return of_values(tuple(one.figures[condition.measure] for one in asked))
        wholes.get(condition.measure)  # a misspelt measure is an error whoever takes it
        return whole(condition.measure, examined)

    verdicts = tuple(Verdict(condition=condition, evidence=evidence(condition)) for condition in stage.conditions)
    return Examination(stage=stage.id, verdicts=verdicts, tried=tried, beside=beside)
