"""A round of a course as it is kept: what was examined, what came out, what followed and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tamiyo_train.curriculum.conditions import Verdict
from tamiyo_train.curriculum.course import Move
from tamiyo_train.curriculum.files import Files
from tamiyo_train.run import NetworkResult, WindowRecord

SCHEMA = "tamiyo.course/3"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLine:
    """One network of an examination. ``seeds``: slot and blueprint of each; ``lives``: transitions of its slots as
    (step, slot, state); ``seconds``: of growing and measuring it."""

    seed: int
    figures: Mapping[str, float]
    result: NetworkResult
    seeds: tuple[str, ...]
    history: tuple[WindowRecord, ...]
    lives: tuple[tuple[int, int, str], ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMacs:
    """Multiply-accumulates of a round's training, by what it was for; faults injected and teaching the policy apart."""

    lessons: int
    examination: int
    rehearsal: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.lessons + self.examination + self.rehearsal


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One examination and its consequence. ``beside``: networks of the stage's other tasks, by task; ``rehearsed``:
    success of earlier stages, more is better; ``lessons``: episodes by stage that the policy was taught with before it.

    ``seconds``: of all of it, as far as it was done since the course was last taken up.
    """

    number: int
    stage: str
    layout: str
    verdicts: tuple[Verdict, ...]
    networks: tuple[NetworkLine, ...]
    beside: Mapping[str, tuple[NetworkLine, ...]]
    rehearsed: Mapping[str, float]
    lessons: Mapping[str, int]
    move: Move
    why: str
    training_macs: TrainingMacs
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every condition held."""
        return all(verdict.passed for verdict in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseRecord:
    """Contents of ``course.json``. ``passed`` and ``left``: stages; ``following``: the stage that comes next, None
    when the course is over; ``policies``: file of each layout's policy, then; ``files``: the user's own, by stage."""

    schema: str
    seed: int
    networks: int
    smoke: bool
    stages: tuple[str, ...]
    rounds: tuple[Round, ...]
    following: str | None
    passed: tuple[str, ...]
    left: tuple[str, ...]
    policies: Mapping[str, str]
    files: Mapping[str, Files]
    versions: Mapping[str, str]

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self.following is None

    @property
    def complete(self) -> bool:
        """Whether every stage was passed."""
        return set(self.passed) == set(self.stages)
