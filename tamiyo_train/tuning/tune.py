"""Tuning in its folder: habits played, the study searched, the report written; each part taken up again where it was.

report.json   what came of it
study.db      the study, for Optuna's own tools too
.work         outcomes of the habits, one file a job: kept, so that more trials play nothing again
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import InputError, MissingExtraError, UnknownNameError, UsageError
from tamiyo_runtime.files import write_atomic_text
from tamiyo_train.codec import decode, encode
from tamiyo_train.config import Episode, Prices
from tamiyo_train.curriculum import jobs
from tamiyo_train.policy.levels import EPISODE, FAMILIES, PROFILES
from tamiyo_train.pool import Workers
from tamiyo_train.progress import OnProgress
from tamiyo_train.tuning.outcomes import GATES, INITS, Job, Outcomes, habits_to_price, joined, play
from tamiyo_train.tuning.report import Report, held_out, report
from tamiyo_train.tuning.yardstick import Yardstick
from tamiyo_train.work import FOLDER, Work, is_unfinished, settings_of

REPORT, STUDY = "report.json", "study.db"
LEAST_HOSTS = 6  # two held out, and one for each of three folds at least
_SMOKE_EPISODE = replace(EPISODE, steps=60)
_TOGETHER = {"cpu": 1, "cuda": 18}  # draws a job: what a device has room for


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a tuning is about. ``hosts``: draws of host weights, device and limits on every level of the families.

    Raises SchemaError on a number of hosts that there are no seeds for, or that leaves nothing to hold out.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    profiles: tuple[str, ...] = PROFILES
    hosts: int = 9
    seed: int = 0
    device: str = "cpu"
    smoke: bool = False

    def __post_init__(self) -> None:
        for name in ("families", "profiles"):
            given: tuple[str, ...] = getattr(self, name)
            require(bool(given), name, "there must be one at least")
            require(len(set(given)) == len(given), name, f"must be named once each, got {', '.join(given)}")
        require(LEAST_HOSTS <= self.hosts <= INITS, "hosts", f"must be in {LEAST_HOSTS}..{INITS}, got {self.hosts}")
        require(self.device in _TOGETHER, "device", f"must be cpu or cuda, got '{self.device}'")

    @property
    def episode(self) -> Episode:
        """What is played."""
        return _SMOKE_EPISODE if self.smoke else EPISODE

    def plays(self) -> list[Job]:
        """All that has to be played."""
        together = _TOGETHER[self.device]
        return [
            Job(
                family=family,
                draws=tuple(range(first, min(first + together, self.hosts))),
                gate=gate * Prices().params,
                habits=habits_to_price(every=9 if self.smoke else 1),
                episode=self.episode,
                profiles=self.profiles,
                seed=self.seed,
                device=self.device,
            )
            for first in range(0, self.hosts, together)
            for family in self.families
            for gate in GATES
        ]


def settings_for(folder: Path, *, resume: bool) -> Settings:
    """What the study in a folder is about when it is taken up again, else what one is about unless told otherwise."""
    if not (resume and _is_study(folder)):
        return Settings()
    kept: Settings = decode(Settings, settings_of(folder)["tuning"], {}, path="tuning")
    return kept


def check(folder: Path, settings: Settings, *, resume: bool, overwrite: bool) -> None:
    """Find what stands in the way before any work; raises UsageError, or MissingExtraError without Optuna."""
    from device_profiles.loader import load_profile

    for name in settings.families:
        if name not in FAMILIES:
            raise UnknownNameError("family", name, FAMILIES)
    for name in settings.profiles:
        load_profile(name)
    if settings.device == "cuda" and not torch.cuda.is_available() and not (resume and _is_played(folder, settings)):
        raise UsageError("there is no CUDA device here", hint="leave out --device")
    try:
        import tamiyo_train.tuning.study  # noqa: F401  (only whether it can be)
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "optuna", "tune") from exc
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", hint="give the folder the study shall be written to")
    there = _is_study(folder)
    if is_unfinished(folder) and not there:
        raise InputError(f"what was begun in {folder} is no study of weights", hint="choose another folder")
    if resume and not there:
        raise InputError(f"there is no study in {folder}", hint="leave out --resume to begin one")
    if there and not (resume or overwrite):
        raise InputError(
            f"{folder} already holds a study",
            hint="add --resume to go on with it, with more --trials if you like, or --overwrite to start anew",
        )


def carry_out(
    folder: Path,
    settings: Settings,
    *,
    trials: int,
    resume: bool,
    processes: Workers,
    on_progress: OnProgress,
    on_remark: Callable[[str], None],
) -> Report:
    """Do it, or the rest of it; the result is the same."""
    from tamiyo_train.tuning.study import search

    work = Work(folder, on_remark=on_remark)
    try:
        described = {"tuning": encode(settings, {})}
        if resume:
            work.go_on(described)
        else:
            for name in (STUDY, REPORT):
                (folder / name).unlink(missing_ok=True)
            work.begin(described)
        played = _played(settings, processes=processes, work=work, on_progress=on_progress)
        yardstick = Yardstick({gate: outcomes.rows(~held_out(outcomes)) for gate, outcomes in played.items()})
        shipped = yardstick.score(Prices())
        found = search(
            yardstick.score,
            trials=trials,
            seed=settings.seed,
            storage=folder / STUDY,
            on_trial=lambda done, best: on_progress("trials", done, trials, f"volume {best:.4f}"),
            on_remark=on_remark,
        )
        made = report(played, found, score_shipped=shipped, seed=settings.seed)
        text = json.dumps(encode(made, {}), indent=1, allow_nan=False)
        write_atomic_text(folder / REPORT, text + "\n", overwrite=True)
    finally:
        work.release()
    return made


def _is_study(folder: Path) -> bool:
    return is_unfinished(folder) and "tuning" in settings_of(folder)


def kept_as(job: Job) -> str:
    """Under which name the outcomes of a job are kept in the study's work folder."""
    return f"outcomes-{job.family}-{job.draws[0]}-{job.gate:g}"


def _is_played(folder: Path, settings: Settings) -> bool:
    """Whether outcomes of all jobs are there, so that nothing is left for a device to do."""
    return all((folder / FOLDER / f"{kept_as(job)}.safetensors").is_file() for job in settings.plays())


def _played(settings: Settings, *, processes: Workers, work: Work, on_progress: OnProgress) -> dict[float, Outcomes]:
    """Everything that was played, by the price at the gate."""
    plays = settings.plays()
    wanted = [
        jobs.Job(
            name=kept_as(job),
            kind=Outcomes,
            function=play,
            arguments=(job,),
            steps=job.episode.decisions,
        )
        for job in plays
    ]
    found = jobs.done("play", wanted, processes=processes, work=work, report=on_progress)
    return by_gate(plays, found)


def by_gate(plays: Sequence[Job], found: Sequence[Outcomes]) -> dict[float, Outcomes]:
    """What each job gave, joined by the price at the gate."""
    gates = dict.fromkeys(job.gate for job in plays)
    return {gate: joined([one for job, one in zip(plays, found, strict=True) if job.gate == gate]) for gate in gates}
