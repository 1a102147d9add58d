"""From what somebody asked for to a run in its folder: configuration, who decides, new work or work to go on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.errors import InputError, UnknownNameError, UsageError
from tamiyo_train import work as unfinished
from tamiyo_train.checkpoint import RECORD, check_free, load_run, save_run
from tamiyo_train.config import TrainConfig, adapted, smoke
from tamiyo_train.curriculum.coursework import RECORD as COURSE
from tamiyo_train.curriculum.taught import course_policy
from tamiyo_train.data import task_of
from tamiyo_train.events import write_run
from tamiyo_train.experiment import train
from tamiyo_train.jobs import GROWTH, POLICY, SCHEDULE, new_host, offered
from tamiyo_train.policy.given import GivenPolicy
from tamiyo_train.policy.shipped import SHIPPED, default_for, shipped_for
from tamiyo_train.pool import Workers
from tamiyo_train.preflight import check
from tamiyo_train.presets import preset
from tamiyo_train.progress import OnProgress
from tamiyo_train.run import Run
from tamiyo_train.schedule import read_schedule
from tamiyo_train.tasks import stages
from tamiyo_train.tasks.files import format_of
from tamiyo_train.tensorfile import pack
from tamiyo_train.work import Work, settings_for

_TASK = "digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for; None takes the task's preset, or when resuming what the work was begun with."""

    task: str | None = None
    data: Path | None = None
    host: str | None = None
    width: int | None = None
    depth: int | None = None
    seed: int | None = None
    growth: str | None = None
    episodes: int | None = None
    steps: int | None = None
    profile: str | None = None
    nested: int | None = None
    attack: float | None = None
    checkpointing: bool | None = None
    smoke: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that was checked and can be carried out. ``source``: whose policy decides, run or course or `SHIPPED`."""

    folder: Path
    config: TrainConfig
    source: Path | None
    policy_from: Run | GivenPolicy | None

    def settings(self) -> dict[str, Any]:
        """Everything the result depends on, as it is kept beside unfinished work."""
        policy = None if self.policy_from is None else hashlib.sha256(pack(self.policy_from.policy)).hexdigest()
        return settings_for(
            self.config,
            policy_from=None if self.source is None else str(self.source),
            policy_sha256=policy,
            task_sha256=task_of(self.config.task, self.config.data).sha256(),
        )

    def carry_out(
        self,
        *,
        workers: Workers,
        resume: bool,
        events: Path | None = None,
        on_progress: OnProgress | None = None,
        on_remark: Callable[[str], None] | None = None,
    ) -> Run:
        """Do the run, or the rest of it, save it, and clear the work away.

        Raises InputError when another process is at work in the folder, UsageError when the work was begun with another
        configuration.
        """
        work = Work(self.folder, on_remark=on_remark)
        try:
            if resume:
                work.go_on(self.settings())
            else:
                work.begin(self.settings())
            run = train(
                self.config,
                workers=workers,
                policy_from=self.policy_from,
                work=work,
                events=events,
                on_progress=on_progress,
            )
            save_run(self.folder, run, overwrite=True)  # `planned` has made sure that it may
            if events is not None:
                write_run(events, run.record)
            work.remove()
        finally:
            work.release()
        return run


def planned(folder: Path | None, wishes: Wishes, *, overwrite: bool, resume: bool) -> Plan:
    """Resolve and check everything; changes nothing. Raises a UsageError for the first thing that is wrong."""
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other", hint="go on with the work, or start anew")
    task, data = _task_wished(wishes)
    folder = folder or Path("runs") / task
    if resume and not unfinished.is_unfinished(folder) and (folder / RECORD).exists():
        raise InputError(f"the run in {folder} is finished", hint=f"look at it: tamiyo evaluate {folder}")
    if resume:
        base, source = unfinished.config_of(folder), unfinished.settings_of(folder).get("policy_from")
        _check_same_task(base, wishes, folder)
    else:
        base, source = preset(task, data), None
    base = smoke(base) if wishes.smoke else base
    config = adapted(
        base,
        seed=wishes.seed,
        host=wishes.host,
        width=wishes.width,
        depth=wishes.depth,
        episodes=wishes.episodes,
        steps=wishes.steps,
        profile=wishes.profile,
        nested=wishes.nested,
        attack=wishes.attack,
        checkpointing=wishes.checkpointing,
        data=data,
    )
    config, given = _decided(config, wishes.growth)
    given = given or _by_default(config, wishes)
    chosen = given or (Path(source) if source is not None and wishes.growth is None else None)
    policy_from = None if chosen is None else _policy_of(chosen, config)
    check(config, policy_from=policy_from)
    if not resume:
        check_free(folder, overwrite=overwrite)
    return Plan(folder=folder, config=config, source=chosen, policy_from=policy_from)


def _task_wished(wishes: Wishes) -> tuple[str, str | None]:
    """Name of the task, or of the format of the user's files, and where those are."""
    if wishes.data is None:
        return wishes.task or _TASK, None
    path = wishes.data.expanduser().resolve()
    if wishes.task is not None and wishes.task in stages:
        raise UsageError(
            f"task '{wishes.task}' makes its own data", hint=f"leave --task out: {path.name} says what it is; or --data"
        )
    return wishes.task or format_of(path), str(path)


def _policy_of(source: Path, config: TrainConfig) -> Run | GivenPolicy:
    """The policy that decides: another run's, that of a course, or the one that comes with the package."""
    if source != Path(SHIPPED):
        return course_policy(source, config) if (source / COURSE).is_file() else load_run(source)
    host = new_host(config, 0)
    names = tuple(blueprint.name for blueprint in offered(host))
    return shipped_for(config.host, slots=host.slots, blueprints=names)


def _by_default(config: TrainConfig, wishes: Wishes) -> Path | None:
    """`SHIPPED`, for who asks for a policy and not for episodes to teach one, where it is the default and fits."""
    if wishes.growth != POLICY or wishes.episodes is not None or config.taught:
        return None
    host = new_host(config, 0)
    names = tuple(blueprint.name for blueprint in offered(host))
    return Path(SHIPPED) if default_for(names) else None


def _check_same_task(base: TrainConfig, wishes: Wishes, folder: Path) -> None:
    if wishes.task is not None and wishes.task != base.task:
        raise UsageError(
            f"the unfinished work was begun with task = {base.task}, not {wishes.task}",
            hint=f"tamiyo train {folder} --resume goes on as begun; --overwrite starts anew",
        )


def _decided(config: TrainConfig, growth: str | None) -> tuple[TrainConfig, Path | None]:
    """The configuration with who decides, and the run whose policy does, if one."""
    if growth is None:
        return config, None
    if growth in GROWTH:
        return replace(config, growth=growth, schedule=()), None
    path = Path(growth)
    if path == Path(SHIPPED) or path.is_dir():
        return replace(config, growth="policy", schedule=()), path
    if path.is_file() or path.suffix == ".toml":
        return replace(config, growth=SCHEDULE, schedule=read_schedule(path)), None
    if len(path.parts) > 1:
        raise InputError(
            f"neither a run, a course nor a schedule: {path}",
            hint=f"give the folder of a run or of a course, a TOML file, or one of {', '.join((*GROWTH, SHIPPED))}",
        )
    raise UnknownNameError("growth method", growth, (*GROWTH, SHIPPED))
