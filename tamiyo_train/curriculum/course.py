"""How a course goes on after each examination: one pure function of where it stands and what came out.

    passed once      examined again, on other seeds
    passed twice     the next stage that is not behind it yet; what was passed before is rehearsed and may lose a point
    failed           taught and examined again; after ``patience`` failures back to the nearest earlier stage that
                     shares its policy, once a stage; without one, or when that did not help, the course ends here, or
                     leaves the stage as not passed and goes on, as asked
    forgot           back to the earlier stage that lost more than ``may_lose``, which has to be passed anew; when it
                     is lost again after that, the course ends, or goes on with that stage as not passed, as asked

A course always ends: it goes back finitely often, and between two such steps passes and failures are counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from tamiyo_runtime.contracts.document import require

MAY_LOSE = 0.01
"""Of its best success: what an earlier stage may lose while others are learned."""


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
    """``stages``: ids in order. ``policies``: what tells which policy decides at each; empty where one does at all.
    ``keep_going``: whether a stage that cannot be passed is left behind."""

    stages: tuple[str, ...]
    policies: tuple[Hashable, ...] = ()
    passes: int = 2
    patience: int = 2
    may_lose: float = MAY_LOSE
    keep_going: bool = False

    def __post_init__(self) -> None:
        require(bool(self.stages), "stages", "a course needs one")
        require(len(set(self.stages)) == len(self.stages), "stages", "come once each")
        require(len(self.policies) in {0, len(self.stages)}, "policies", "one a stage")
        require(self.passes > 0, "passes", "must be above 0")
        require(self.patience > 0, "patience", "must be above 0")
        require(self.may_lose >= 0, "may_lose", "must not be negative")

    def kin_before(self, stage: int) -> int | None:
        """Number of the nearest earlier stage where the same policy decides; None without one."""
        alike = [n for n in range(stage) if not self.policies or self.policies[n] == self.policies[stage]]
        return alike[-1] if alike else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a course stands. ``passed``: best success of each stage that counts as passed; ``left``: stages that do
    not, and that the course went on without.

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
    remark = ""
    for stage in _forgotten(standing, outcome, rules):
        lost = f"stage {stage} lost {standing.passed[stage] - outcome.rehearsed[stage]:.3f}"
        if stage not in standing.went_back_to:
            why = f"{lost}, more than {rules.may_lose:g}: back to it"
            gone = standing.went_back_to | {stage}
            back = replace(_without(standing, stage), stage=rules.stages.index(stage), went_back_to=gone)
            return replace(back, passes=0, failures=0), Move.REGRESS, remark + why
        if not rules.keep_going:
            return replace(_without(standing, stage), over=True), Move.STOP, f"{lost} again, after it was gone back to"
        standing, remark = _left(standing, stage), f"{remark}{lost} again: not passed; "
    standing, move, why = _examined(standing, outcome, rules)
    return standing, move, remark + why


def _examined(standing: Standing, outcome: Outcome, rules: Rules) -> tuple[Standing, Move, str]:
    """The same, as far as the present stage goes."""
    here = rules.stages[standing.stage]
    if outcome.passed:
        return _passed(standing, here, outcome, rules)
    failures = standing.failures + 1
    if failures < rules.patience:
        why = f"stage {here} failed {failures} of {rules.patience} times"
        return replace(standing, passes=0, failures=failures), Move.REPEAT, why
    before = rules.kin_before(standing.stage)
    why = f"stage {here} failed {failures} times"
    if before is not None and here not in standing.went_back_from:
        gone = standing.went_back_from | {here}
        why += f": back to stage {rules.stages[before]}, which has the same policy"
        return replace(standing, stage=before, passes=0, failures=0, went_back_from=gone), Move.REGRESS, why
    if not rules.keep_going:
        failed = replace(_without(standing, here), passes=0, failures=failures, over=True)
        return failed, Move.STOP, why
    return _onward(_left(standing, here), Move.LEAVE, f"{why}: left behind", rules)


def _forgotten(standing: Standing, outcome: Outcome, rules: Rules) -> list[str]:
    """Stages passed that lost more than they may, in order."""
    limits = {stage: best - rules.may_lose for stage, best in standing.passed.items() if stage in outcome.rehearsed}
    return [stage for stage in rules.stages if stage in limits and outcome.rehearsed[stage] < limits[stage]]


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
    """To the first stage that is neither passed nor left, or to the end."""
    behind = {*standing.passed, *standing.left}
    following = next((number for number, stage in enumerate(rules.stages) if stage not in behind), None)
    if following is None:
        return replace(standing, passes=0, failures=0, over=True), Move.FINISH, why
    return replace(standing, stage=following, passes=0, failures=0), move, why


def _without(standing: Standing, stage: str) -> Standing:
    """The standing in which a stage does not count as passed any more."""
    passed = {name: best for name, best in standing.passed.items() if name != stage}
    return replace(standing, passed=MappingProxyType(passed))


def _left(standing: Standing, stage: str) -> Standing:
    """The standing in which a stage does not count as passed, and the course goes on without it."""
    left = standing.left if stage in standing.left else (*standing.left, stage)
    return replace(_without(standing, stage), left=left)
