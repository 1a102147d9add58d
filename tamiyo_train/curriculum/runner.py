"""Leads a policy through a course: teach, examine, decide what follows; every decision audited, every job kept.

A course is a fold over its rounds, and a round over its jobs, each a pure function of the settings. To take up one
that was interrupted it is gone through from its beginning, and what was kept is not done again; the audit log has to
tell the same story as far as it goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import torch

from tamiyo_train.audit import AuditLog
from tamiyo_train.config import TrainConfig
from tamiyo_train.curriculum.conditions import Condition, Evidence
from tamiyo_train.curriculum.course import Move, Rules, Standing, after
from tamiyo_train.curriculum.examine import Examination, Tried, judged, merit, try_one
from tamiyo_train.curriculum.files import files_of
from tamiyo_train.curriculum.jobs import Job, done
from tamiyo_train.curriculum.measures import FAULTS, Examined, Judge, wholes
from tamiyo_train.curriculum.round import NetworkLine, Round, TrainingMacs
from tamiyo_train.curriculum.school import Layout, Lesson, layout_of, lessons, opening
from tamiyo_train.curriculum.stage import Stage, ids
from tamiyo_train.jobs import POLICY, EpisodeResult, collect
from tamiyo_train.policy.experience import Experience, concatenate
from tamiyo_train.policy.imitation import teach
from tamiyo_train.pool import Workers
from tamiyo_train.progress import OnProgress
from tamiyo_train.seeding import derive
from tamiyo_train.work import Work, keep

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the result of a course depends on. ``networks``: grown for an examination; ``rehearsal``: share of a
    round's episodes that are of earlier stages; ``faults``: injected where a gate asks for the rollback rate."""

    stages: tuple[Stage, ...]
    seed: int = 0
    networks: int = 5
    rehearsal: float = 0.15
    faults: int = FAULTS
    keep_going: bool = False
    smoke: bool = False

    def layouts(self) -> dict[str, Layout]:
        """What the policy of each stage decides over, by stage."""
        return {stage.id: layout_of(stage.config(is_smoke=self.smoke)) for stage in self.stages}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A course that is over: where it ended, and the policies it left, by layout."""

    standing: Standing
    rounds: tuple[Round, ...]
    policies: Mapping[Layout, Mapping[str, torch.Tensor]]


class Runner:
    """One course in progress; ``judge``: of networks as they are deployed, see `measures.Judge`."""

    def __init__(
        self,
        settings: Settings,
        *,
        processes: Workers,
        work: Work,
        audit: AuditLog,
        on_progress: OnProgress,
        judge: Judge | None = None,
    ) -> None:
        self.settings, self._processes, self._judge = settings, processes, judge
        self._work, self._audit, self._report = work, audit, on_progress
        self._layouts = settings.layouts()
        policies = tuple(self._layouts.values())
        self._rules = Rules(stages=ids(settings.stages), policies=policies, keep_going=settings.keep_going)
        self._seen: dict[Layout, list[Experience]] = {}
        self._policies: dict[Layout, dict[str, torch.Tensor]] = {}

    def run(self, on_round: Callable[[tuple[Round, ...], Standing], None]) -> Finished:
        """Go on until the course is over; ``on_round`` hears after each round of all of them, and where it stands."""
        standing, confirming = Standing(), False
        rounds: list[Round] = []
        for stage, files in files_of(self.settings.stages).items():
            self._audit.append("files", step=0, stage=stage, **asdict(files))
        while not standing.over:
            one, standing = self._round(len(rounds), standing, confirming=confirming)
            rounds.append(one)
            on_round(tuple(rounds), standing)
            confirming = one.move is Move.CONFIRM
        return Finished(standing=standing, rounds=tuple(rounds), policies=dict(self._policies))

    def _round(self, number: int, standing: Standing, *, confirming: bool) -> tuple[Round, Standing]:
        settings, began = self.settings, time.perf_counter()
        stage = settings.stages[standing.stage]
        layout = self._layouts[stage.id]
        earlier = [
            one
            for one in settings.stages
            if one.id in standing.passed and one is not stage and self._layouts[one.id] == layout
        ]
        taught, lesson_macs = ((), 0) if confirming else self._teach(number, stage, earlier, layout)
        examined = self._examine(number, stage, layout)
        back = {} if confirming else {one.id: self._examine(number, one, layout, only=one.success) for one in earlier}
        rehearsed = {name: merit(again.verdicts[0]) for name, again in back.items()}
        standing, move, why = after(standing, examined.outcome(rehearsed), self._rules)
        self._audit.append(
            "course",
            step=number,
            stage=stage.id,
            passed=examined.passed,
            failed=[str(verdict.condition) for verdict in examined.verdicts if not verdict.passed],
            rehearsed={name: repr(value) for name, value in rehearsed.items()},
            move=move.value,
            why=why,
        )
        one = Round(
            number=number,
            stage=stage.id,
            layout=str(layout),
            verdicts=examined.verdicts,
            networks=_lines(examined.tried),
            beside={task: _lines(tried) for task, tried in examined.beside.items()},
            rehearsed=rehearsed,
            lessons=_counted(taught),
            move=move,
            why=why,
            training_macs=TrainingMacs(
                lessons=lesson_macs,
                examination=examined.training_macs,
                rehearsal=sum(again.training_macs for again in back.values()),
            ),
            seconds=time.perf_counter() - began,
        )
        return one, standing

    def _teach(
        self, number: int, stage: Stage, earlier: Sequence[Stage], layout: Layout
    ) -> tuple[tuple[Lesson, ...], int]:
        """Teach the policy anew; the lessons, and the multiply-accumulates that their episodes trained with."""
        settings = self.settings
        if layout not in self._policies:
            self._open(number, stage, layout)
        plan = lessons(
            stage,
            earlier,
            seed=derive(settings.seed, "lessons", number),
            share=settings.rehearsal,
            has_policy=layout in self._policies,
            is_smoke=settings.smoke,
        )
        policy = self._policies.get(layout)
        episodes = self._done(
            f"round {number + 1}, stage {stage.id}: lessons",
            [
                Job(
                    name=f"round-{number}-lesson-{index}",
                    kind=EpisodeResult,
                    function=collect,
                    arguments=(one.config, one.method, one.index, policy if one.method == POLICY else None),
                    steps=one.config.collect.total_steps,
                )
                for index, one in enumerate(plan)
            ],
        )
        seen = self._seen.setdefault(layout, [])
        seen += [replace(episode.experience, group=episode.experience.group + len(seen)) for episode in episodes]
        self._policies[layout] = self._taught(number, stage, layout, seen)
        return plan, sum(episode.outcome.training_macs for episode in episodes)

    def _open(self, number: int, stage: Stage, layout: Layout) -> None:
        """Begin with the policy that comes with the package where it fits: it plays in the first lessons already."""
        begun = opening(stage.config(is_smoke=self.settings.smoke))
        if begun is not None:
            self._policies[layout] = dict(begun.policy)
            self._audit.append(
                "opening", step=number, layout=str(layout), **{k: str(v) for k, v in begun.lesson().items()}
            )

    def _taught(self, number: int, stage: Stage, layout: Layout, seen: Sequence[Experience]) -> dict[str, torch.Tensor]:
        name = f"round-{number}-policy"
        found = self._work.kept(name, dict[str, torch.Tensor])
        if found is not None:
            return found

        def on_step(done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                self._report(f"round {number + 1}, stage {stage.id}: teaching", done, total, "")

        network, _ = teach(
            concatenate(list(seen)),
            heads=layout.heads,
            config=stage.config(is_smoke=self.settings.smoke).teaching,
            seed=derive(self.settings.seed, "teach", number),
            on_step=on_step,
        )
        weights = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        keep(self._work.path(name), weights)
        return weights

    def _examine(self, number: int, stage: Stage, layout: Layout, *, only: Condition | None = None) -> Examination:
        """The gate of a stage, or its success alone."""
        settings = self.settings
        asked = stage if only is None else replace(stage, success=only, safety=())
        configs = self._configs(stage, number, stage.id)
        own = tuple(condition for condition in asked.conditions if condition.task is None)
        jobs = self._trials(f"round-{number}-{stage.id}", configs, own, layout)
        for task in asked.others:
            other = asked.on(task)
            others = self._configs(other, number, stage.id, task)
            jobs += self._trials(f"round-{number}-{stage.id}-{task}", others, other.conditions, layout)
        phase = f"round {number + 1}, stage {stage.id}: {'rehearsal' if only else 'examination'}"
        done, each = tuple(self._done(phase, jobs)), settings.networks
        tried, beside = done[:each], done[each:]

        def whole(measure: str, examined: Examined) -> Evidence:
            name = f"round-{number}-{stage.id}-{measure.replace(' ', '-').replace('/', '-')}"
            found = self._work.kept(name, Evidence)
            if found is None:
                told = f"round {number + 1}, stage {stage.id}: {measure}"
                heard = replace(examined, report=lambda done, total: self._report(told, done, total, ""))
                found = wholes.get(measure)(heard)
                if found.estimate is not None:  # what could not be measured may be when the course is taken up
                    keep(self._work.path(name), found)
            return found

        seed = derive(settings.seed, "whole", number, stage.id) % 2**31
        return judged(
            asked,
            tried,
            configs,
            beside={task: beside[k * each : (k + 1) * each] for k, task in enumerate(asked.others)},
            whole=whole,
            seed=seed,
            workers=self._processes,
            faults=settings.faults,
            judge=self._judge,
        )

    def _configs(self, stage: Stage, *path: int | str) -> tuple[TrainConfig, ...]:
        """What an examination grows, from seeds that nothing else has."""
        base = stage.config(is_smoke=self.settings.smoke)
        seeds = [derive(self.settings.seed, "examine", *path, index) for index in range(self.settings.networks)]
        return tuple(replace(base, seed=seed % 2**31) for seed in seeds)

    def _trials(
        self, name: str, configs: Sequence[TrainConfig], conditions: tuple[Condition, ...], layout: Layout
    ) -> list[Job[Tried]]:
        return [
            Job(
                name=f"{name}-{index}",
                kind=Tried,
                function=try_one,
                arguments=(config, POLICY, self._policies[layout], conditions),
                steps=config.final.total_steps,
            )
            for index, config in enumerate(configs)
        ]

    def _done(self, phase: str, jobs: Sequence[Job[T]]) -> list[T]:
        return done(phase, jobs, processes=self._processes, work=self._work, report=self._report)


def _counted(taught: Sequence[Lesson]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for lesson in taught:
        counts[lesson.stage] = counts.get(lesson.stage, 0) + 1
    return counts


def _lines(tried: Sequence[Tried]) -> tuple[NetworkLine, ...]:
    return tuple(_line(index, one) for index, one in enumerate(tried))


def _line(index: int, tried: Tried) -> NetworkLine:
    grown = tried.grown
    lives = tuple(
        (int(entry["step"]), int(entry["data"]["slot"]), str(entry["data"]["after"]))  # type: ignore[call-overload,index]  # as audited
        for entry in grown.audit
        if entry["kind"] == "transition"
    )
    return NetworkLine(
        seed=index,
        figures=dict(tried.figures),
        result=grown.result,
        seeds=tuple(f"{seed.path or seed.slot} {seed.blueprint}" for seed in (*grown.seeds, *grown.inner_seeds)),
        history=grown.history,
        lives=lives,
        seconds=tried.seconds,
    )
