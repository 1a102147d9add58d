"""How a course goes on after each examination: one pure function of where it stands and what came out.

    passed once      examined again, on other seeds
    passed twice     the next stage; what was passed before is rehearsed and may lose a point at most
    failed           taught and examined again; after ``patience`` failures back to the stage before, once a stage;
                     when that did not help either, the course ends here, or leaves the stage as not passed and goes on,
                     as asked
    forgot           back to the earlier stage that lost more than ``may_lose``, once a stage

A course always ends: it goes back finitely often, and between two such steps passes and failures are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from tamiyo_runtime.contracts.document import require


class Move(StrEnum):
    """What happens next."""

    CONFIRM = "confirm"
    """passed once: the same stage again, on other seeds"""
    ADVANCE = "advance"
    REPEAT = "repeat"
    REGRESS = "regress"
    LEAVE = "leave"
    """on to the next stage without having passed"""
    FINISH = "finish"
    """no stage is left"""
    STOP = "stop"
    """the stage was not passed, and that is that"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``stages``: ids in order. ``keep_going``: whether a stage that cannot be passed is left behind."""

    stages: tuple[str, ...]
    passes: int = 2
    patience: int = 2
    may_lose: float = 0.01
    keep_going: bool = False

    def __post_init__(self) -> None:
        require(bool(self.stages), "stages", "a course needs one")
        require(len(set(self.stages)) == len(self.stages), "stages", "come once each")
        require(self.passes > 0, "passes", "must be above 0")
        require(self.patience > 0, "patience", "must be above 0")
        require(self.may_lose >= 0, "may_lose", "must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a course stands. ``passed``: best success of each stage passed; ``left``: stages left without passing.

    ``went_back_from`` and ``went_back_to``: stages that have used their one step back, for failing and for having been
    forgotten.
    """

    stage: int = 0
    passes: int = 0
    failures: int = 0
    passed: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    went_back_from: frozenset[str] = frozenset()
    went_back_to: frozenset[str] = frozenset()
    left: tuple[str, ...] = ()
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One examination. ``success``: the success metric's mean, higher is better. ``rehearsed``: the same of earlier
    stages that were examined beside it."""

    passed: bool
    success: float
    rehearsed: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def after(standing: Standing, outcome: Outcome, rules: Rules) -> tuple[Standing, Move, str]:
    """Where the course stands after an examination of its present stage, what happens next, and why."""
    require(not standing.over, "standing", "the course is over")
    here = rules.stages[standing.stage]
    if (forgotten := _forgotten(standing, outcome, rules)) is not None:
        return _back_to_forgotten(standing, forgotten, outcome, rules)
    if outcome.passed:
        return _passed(standing, here, outcome, rules)
    failures = standing.failures + 1
    if failures < rules.patience:
        why = f"stage {here} failed {failures} of {rules.patience} times"
        return replace(standing, passes=0, failures=failures), Move.REPEAT, why
    if standing.stage > 0 and here not in standing.went_back_from:
        before = rules.stages[standing.stage - 1]
        why = f"stage {here} failed {failures} times: back to stage {before}"
        gone = standing.went_back_from | {here}
        index = standing.stage - 1
        return replace(standing, stage=index, passes=0, failures=0, went_back_from=gone), Move.REGRESS, why
    why = f"stage {here} failed {failures} times"
    if not rules.keep_going:
        return replace(standing, passes=0, failures=failures, over=True), Move.STOP, why
    return _onward(replace(standing, left=_with(standing.left, here)), Move.LEAVE, f"{why}: left behind", rules)


def _forgotten(standing: Standing, outcome: Outcome, rules: Rules) -> str | None:
    """The earliest stage rehearsed that lost more than it may; once the course went back to it, it is let be."""
    lost = [
        stage
        for stage, success in outcome.rehearsed.items()
        if stage in standing.passed and success < standing.passed[stage] - rules.may_lose
    ]
    return next((stage for stage in rules.stages if stage in lost and stage not in standing.went_back_to), None)


def _back_to_forgotten(standing: Standing, stage: str, outcome: Outcome, rules: Rules) -> tuple[Standing, Move, str]:
    lost = standing.passed[stage] - outcome.rehearsed[stage]
    why = f"stage {stage} lost {lost:.3f}, more than {rules.may_lose:g}: back to it"
    index, gone = rules.stages.index(stage), standing.went_back_to | {stage}
    return replace(standing, stage=index, passes=0, failures=0, went_back_to=gone), Move.REGRESS, why


def _passed(standing: Standing, here: str, outcome: Outcome, rules: Rules) -> tuple[Standing, Move, str]:
    passes = standing.passes + 1
    if passes < rules.passes:
        why = f"stage {here} passed {passes} of {rules.passes} times running"
        return replace(standing, passes=passes), Move.CONFIRM, why
    best = max(outcome.success, standing.passed.get(here, outcome.success))
    passed = MappingProxyType({**standing.passed, here: best})
    left = tuple(stage for stage in standing.left if stage != here)
    why = f"stage {here} passed {passes} times running"
    return _onward(replace(standing, passed=passed, left=left), Move.ADVANCE, why, rules)


def _onward(standing: Standing, move: Move, why: str, rules: Rules) -> tuple[Standing, Move, str]:
    """To the next stage, or to the end."""
    following = standing.stage + 1
    if following == len(rules.stages):
        return replace(standing, passes=0, failures=0, over=True), Move.FINISH, why
    return replace(standing, stage=following, passes=0, failures=0), move, why


def _with(stages: tuple[str, ...], stage: str) -> tuple[str, ...]:
    return stages if stage in stages else (*stages, stage)
