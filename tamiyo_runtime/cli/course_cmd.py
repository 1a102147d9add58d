"""``tamiyo train --curriculum``: lead a policy through the stages, and say what each gate showed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_runtime.cli.workers import WorkersOption, workers_for

if TYPE_CHECKING:
    from tamiyo_train.curriculum.conditions import Verdict
    from tamiyo_train.curriculum.round import CourseRecord, Round
    from tamiyo_train.curriculum.runner import Settings


def course(
    folder: Annotated[Path, typer.Argument(metavar="COURSE", help="folder the course is written to")] = Path(
        "runs/course"
    ),
    *,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="stage to begin with")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="STAGE", help="stage to end with")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE=PATH", help="your own files in place of a stage's samples; once a stage"),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="everything random follows from it; 0 when left out")] = None,
    networks: Annotated[
        int | None, typer.Option(min=2, help="networks grown for an examination; 5 when left out, the least there is")
    ] = None,
    keep_going: Annotated[
        bool | None,
        typer.Option("--keep-going", help="leave a stage behind that cannot be passed, instead of ending there"),
    ] = None,
    workers: WorkersOption = "2",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the stages and their gates, do nothing")] = False,
    smoke_run: Annotated[bool, typer.Option("--smoke", help="the whole path on very little work")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a course that is there")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an interrupted course was")] = False,
) -> None:
    """Lead a policy through the curriculum: teach, examine, advance by itself, rehearse, go back where it must.

    A stage is passed when every condition of its gate holds at its 95 % bound, twice running. Exit 3 when a stage was
    not passed; the tables then say by how much.

    Examples:

      tamiyo train --curriculum --from 0 --to 0

      tamiyo train --curriculum runs/course --keep-going

      tamiyo train --curriculum runs/mnist --from 1 --to 1 --data 1=mnist/

      tamiyo train --curriculum runs/course --resume
    """
    from tamiyo_runtime.cli.render import note
    from tamiyo_runtime.cli.train_cmd import stoppable
    from tamiyo_runtime.cli.train_report import reported
    from tamiyo_runtime.contracts.errors import UsageError
    from tamiyo_runtime.files import write_atomic_text

    crew = workers_for(workers, dry_run=dry_run)  # loads torch beside this process, which takes as long
    from tamiyo_runtime.cli.course_page import render
    from tamiyo_runtime.cli.int8_judge import int8_accuracy
    from tamiyo_train.curriculum.coursework import carry_out, check_course, is_over
    from tamiyo_train.curriculum.stages import CURRICULUM
    from tamiyo_train.curriculum.wishes import CourseWishes, settings_for
    from tamiyo_train.pool import held

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other", hint="go on with the work, or start anew")
    report = folder / "report.html"
    if resume and is_over(folder):
        _show_again(folder, report, as_json=as_json)
        return
    wishes = CourseWishes(
        first=first,
        last=last,
        data=data or None,
        seed=seed,
        networks=networks,
        keep_going=keep_going,
        smoke=smoke_run,
    )
    settings = settings_for(wishes, CURRICULUM, going_on=folder if resume else None)
    check_course(folder, settings, resume=resume, overwrite=overwrite)
    if dry_run:
        _show_plan(folder, settings, as_json=as_json)
        return

    again = shlex.join(["tamiyo", "train", "--curriculum", str(folder), "--resume"])
    with held(crew), stoppable(again), reported() as on_progress:

        def on_round(sofar: CourseRecord) -> None:
            on_progress("", 0, 0, "")  # the line of the examination ends before its table begins
            write_atomic_text(report, render(sofar, settings.stages), overwrite=True)
            if not as_json:
                show_round(sofar.rounds[-1])

        record = carry_out(
            folder,
            settings,
            resume=resume,
            processes=crew,
            on_progress=on_progress,
            on_round=on_round,
            on_remark=note,
            judge=int8_accuracy,
        )
    write_atomic_text(report, render(record, settings.stages), overwrite=True)
    _finish(folder, report, record, as_json=as_json)


def _show_again(folder: Path, report: Path, *, as_json: bool) -> None:
    """A course that is over, as it lies there: what is left to do of it is its report."""
    from tamiyo_runtime.cli.course_page import render
    from tamiyo_runtime.files import write_atomic_text
    from tamiyo_train.curriculum.coursework import load_course, stages_of

    record = load_course(folder)
    write_atomic_text(report, render(record, stages_of(record)), overwrite=True)
    _finish(folder, report, record, as_json=as_json)


def _finish(folder: Path, report: Path, record: CourseRecord, *, as_json: bool) -> None:
    """Show a course that is over; exit 3 when a stage was not passed."""
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_train.curriculum.stages import CURRICULUM

    if as_json:
        emit_json(as_data(folder, record))
    else:
        _show_course(record)
        say(f"Look:  {report}")
        grow = f"tamiyo train --task {CURRICULUM.stage(record.rounds[-1].stage).task} --growth {folder}"
        say(f"Next:  tamiyo audit show {folder} | {grow}")
    if not record.complete:
        raise typer.Exit(3)


def show_round(one: Round) -> None:
    """A round's gate as a table, and what follows."""
    from tamiyo_runtime.cli.render import say, table

    say()
    say(f"stage {one.stage}, round {one.number + 1}: {len(one.networks)} networks")
    table(["condition", "bound", "measured", "90 % interval", "passed"], [_row(verdict) for verdict in one.verdicts])
    for verdict in one.verdicts:
        if verdict.evidence.estimate is not None and not verdict.passed and verdict.evidence.note:
            say(f"{verdict.condition.name}: {verdict.evidence.note}")
    for name, success in one.rehearsed.items():
        say(f"rehearsed stage {name}: {success:.4g}")
    say(f"{one.move.value}: {one.why}")


def _row(verdict: Verdict) -> list[Any]:
    condition, evidence = verdict.condition, verdict.evidence
    bound = f"{condition.sense.value} {condition.bound:g}"
    if evidence.estimate is None or evidence.low is None or evidence.high is None:
        return [condition.name, bound, None, None, f"no: not measured: {evidence.note}"]
    passed = "yes" if verdict.passed else f"no, by {verdict.short_by:.3g}"
    return [condition.name, bound, f"{evidence.estimate:.4g}", f"{evidence.low:.4g} to {evidence.high:.4g}", passed]


def _show_plan(folder: Path, settings: Settings, *, as_json: bool) -> None:
    from tamiyo_runtime.cli.render import emit_json, say, table

    rows = [
        {
            "stage": stage.id,
            "title": stage.title,
            "task": stage.task,
            "data": stage.data,
            "profile": stage.profile,
            "teaches": list(stage.taught),
            "gate": [str(condition) for condition in stage.conditions],
        }
        for stage in settings.stages
    ]
    if as_json:
        emit_json({"course": str(folder), "seed": settings.seed, "networks": settings.networks, "stages": rows})
        return
    say(f"would write {folder}: {settings.networks} networks an examination, each stage examined twice at least")
    keys = ["stage", "title", "task", "profile", "teaches", "gate"]
    if any(row["data"] for row in rows):
        keys.insert(3, "data")
    table(keys, [[_joined(row[key]) for key in keys] for row in rows])


def _joined(cell: Any) -> Any:
    return ", ".join(cell) if isinstance(cell, list) else cell


def _show_course(record: CourseRecord) -> None:
    from tamiyo_runtime.cli.course_page import state_of
    from tamiyo_runtime.cli.render import say, table

    say()
    rows = []
    for stage in record.stages:
        rounds = [one for one in record.rounds if one.stage == stage]
        last = rounds[-1] if rounds else None
        missed = [] if last is None else [verdict for verdict in last.verdicts if not verdict.passed]
        rows.append(
            [
                stage,
                state_of(record, stage),
                len(rounds),
                f"{sum(one.training_macs.total for one in rounds) / 1e9:.3g}",
                "; ".join(str(verdict.condition) for verdict in missed) or None,
            ]
        )
    table(["stage", "gate", "rounds", "training GMACs", "missed in the last round"], rows)


def as_data(folder: Path, record: CourseRecord) -> dict[str, Any]:
    """A course as JSON-ready data."""
    from tamiyo_train.codec import encode

    return {"course": str(folder), **encode(record, {})}
