"""A course in its folder: begun, taken up again, and written down when it is over.

course.json                every round with its verdicts
audit.jsonl                every decision, hash-chained
policy-LAYOUT.safetensors  the policy of each layout, as the course left it
.work                      while it is not over: see `work`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.document import check_schema, parse_json
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError, UsageError
from tamiyo_runtime.files import write_atomic_text
from tamiyo_train.audit_file import NAME as AUDIT
from tamiyo_train.audit_file import AuditFile
from tamiyo_train.codec import decode, encode
from tamiyo_train.curriculum.course import Standing
from tamiyo_train.curriculum.files import files_of
from tamiyo_train.curriculum.measures import INT8_ACCURACY, Judge
from tamiyo_train.curriculum.round import SCHEMA, CourseRecord, Round
from tamiyo_train.curriculum.runner import Finished, Runner, Settings
from tamiyo_train.curriculum.stage import Stage, ids
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.curriculum.taught import keep_policy
from tamiyo_train.data import task_of
from tamiyo_train.fingerprint import versions
from tamiyo_train.pool import Workers
from tamiyo_train.preflight import check
from tamiyo_train.progress import OnProgress
from tamiyo_train.work import Work, is_unfinished

RECORD = "course.json"
_LIMIT_BYTES = 256 << 20


def check_course(folder: Path, settings: Settings, *, resume: bool, overwrite: bool) -> None:
    """Find what stands in the way before any work; raises a UsageError."""
    for stage in settings.stages:
        check(stage.config(is_smoke=settings.smoke))
        wanted, metric = stage.success.measure, task_of(stage.task, stage.data).metric
        if metric != wanted and (metric, wanted) != ("accuracy", INT8_ACCURACY):
            raise UsageError(
                f"stage {stage.id} is passed by {wanted}, but its task {stage.task} is judged by {metric}",
                hint="one of the two is misspelt",
            )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", hint="give the folder the course shall be written to")
    if resume:
        if not is_unfinished(folder):
            raise InputError(f"there is no unfinished course in {folder}", hint="leave out --resume to begin one")
        return
    if overwrite:
        return
    if (folder / RECORD).exists():
        raise InputError(f"{folder} already holds a course", hint="choose another folder or add --overwrite")
    if is_unfinished(folder):
        raise InputError(
            f"{folder} holds work that was begun and not finished",
            hint="add --resume to go on with it, or --overwrite to start anew",
        )


def carry_out(
    folder: Path,
    settings: Settings,
    *,
    resume: bool,
    processes: Workers,
    on_progress: OnProgress,
    on_round: Callable[[CourseRecord], None],
    on_remark: Callable[[str], None],
    judge: Judge | None = None,
) -> CourseRecord:
    """Do a course, or the rest of it, write it down, and clear the work away.

    ``on_round`` hears after each round of the course so far. ``judge``: of networks as they are deployed, see
    `measures.Judge`.
    """
    work = Work(folder, on_remark=on_remark)
    try:
        described = _described(settings)
        if resume:
            work.go_on(described)
            work.check_log(AUDIT)
        else:
            work.begin(described)
        with AuditFile(work.folder / AUDIT) as audit:
            runner = Runner(settings, processes=processes, work=work, audit=audit, on_progress=on_progress, judge=judge)
            finished = runner.run(lambda rounds, standing: on_round(_record(settings, rounds, standing, policies={})))
        record = _save(folder, settings, finished)
        (work.folder / AUDIT).replace(folder / AUDIT)
        work.remove()
    finally:
        work.release()
    return record


def is_over(folder: Path) -> bool:
    """Whether a folder holds a course that is over, and none that was begun anew."""
    return (folder / RECORD).is_file() and not is_unfinished(folder)


def stages_of(record: CourseRecord) -> tuple[Stage, ...]:
    """The stages of a course that was kept, on the files it was done on."""
    files = record.files
    return tuple(
        replace(stage, task=files[stage.id].format, data=files[stage.id].path) if stage.id in files else stage
        for stage in map(CURRICULUM.stage, record.stages)
    )


def load_course(folder: Path) -> CourseRecord:
    """Read a course that is over; raises InputError when there is none, IntegrityError when it is damaged."""
    path = folder / RECORD
    try:
        raw = path.read_bytes()
    except OSError as exc:
        hint = "finish it: add --resume" if is_unfinished(folder) else "make one: tamiyo train --curriculum"
        raise InputError(f"no course in {folder}: {exc.strerror}", hint=hint) from exc
    try:
        document = parse_json(raw, path=RECORD, limit_bytes=_LIMIT_BYTES)
        check_schema(document["schema"], SCHEMA, path=f"{RECORD}.schema")
        record: CourseRecord = decode(CourseRecord, document, {}, path=RECORD)
    except (SchemaError, KeyError, TypeError) as exc:
        raise IntegrityError(f"{path} is damaged: {exc}", hint="restore it from a copy or do the course again") from exc
    return record


def _save(folder: Path, settings: Settings, finished: Finished) -> CourseRecord:
    policies = {str(layout): keep_policy(folder, layout, weights) for layout, weights in finished.policies.items()}
    record = _record(settings, finished.rounds, finished.standing, policies=policies)
    text = json.dumps(encode(record, {}), indent=1, sort_keys=True, allow_nan=False)
    write_atomic_text(folder / RECORD, text, overwrite=True)
    return record


def _record(
    settings: Settings, rounds: tuple[Round, ...], standing: Standing, *, policies: Mapping[str, str]
) -> CourseRecord:
    return CourseRecord(
        schema=SCHEMA,
        seed=settings.seed,
        networks=settings.networks,
        smoke=settings.smoke,
        stages=ids(settings.stages),
        rounds=rounds,
        following=None if standing.over else settings.stages[standing.stage].id,
        passed=tuple(stage for stage in ids(settings.stages) if stage in standing.passed),
        left=standing.left,
        policies=policies,
        files=files_of(settings.stages),
        versions=versions(),
    )


def _described(settings: Settings) -> dict[str, Any]:
    """Everything the result depends on, as it is kept beside unfinished work."""
    body: dict[str, Any] = encode(settings, {})
    stages = body.pop("stages")
    return {
        "course": body,
        "stages": {stage["id"]: stage for stage in stages},
        "files": {stage: files.sha256 for stage, files in files_of(settings.stages).items()},
    }
