"""``tamiyo train tune-reward``: what the weights of the reward lead to, and which would lead to more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_runtime.cli.workers import WorkersOption, workers_for

if TYPE_CHECKING:
    from tamiyo_train.tuning.difference import Difference
    from tamiyo_train.tuning.report import Report
    from tamiyo_train.tuning.tune import Settings


def tune_reward(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="folder the study is written to")] = Path(
        "runs/reward"
    ),
    *,
    families: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="families of tasks to grow on, at their training levels; all if not given"),
    ] = None,
    profiles: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="devices that budgets are drawn from, names or files; three if not given"),
    ] = None,
    hosts: Annotated[
        int | None,
        typer.Option(
            min=6, max=64, help="draws of host weights, device and limits a level, a third held out; 9 if not given"
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="sets of weights to try")] = 200,
    seed: Annotated[int | None, typer.Option(min=0, help="everything random follows from it; 0 if not given")] = None,
    device: Annotated[str | None, typer.Option(help="where networks grow: cpu, if not given, or cuda")] = None,
    workers: WorkersOption = "2",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be played and tried, do nothing")
    ] = False,
    smoke_run: Annotated[bool, typer.Option("--smoke", help="the whole path on very little work")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a study that is there")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where a study was; with more --trials nothing is played again")
    ] = False,
) -> None:
    """Tune the weights of the reward on training tasks, and show what each of them changes.

    Habits of growth are played once; every trial of Optuna prices what came of them anew, and is scored by the
    accuracy, parameters, energy and training its choices lead to on other host weights, never by the weights.
    It changes no setting: the tuned weights are printed beside the shipped ones.

    Examples:

      tamiyo train tune-reward --device cuda

      tamiyo train tune-reward runs/mine --profiles my-board.toml --families spirals,spheres --hosts 12

      tamiyo train tune-reward --resume --trials 500
    """
    from tamiyo_runtime.cli.render import emit_json, note
    from tamiyo_runtime.cli.train_cmd import stoppable
    from tamiyo_runtime.cli.train_report import reported
    from tamiyo_runtime.contracts.errors import UsageError

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other", hint="go on with the study, or start anew")
    crew = workers_for(workers, dry_run=dry_run)
    from tamiyo_train.codec import encode
    from tamiyo_train.tuning.tune import LEAST_HOSTS, carry_out, check, settings_for

    kept = settings_for(folder, resume=resume)
    given: dict[str, Any] = {
        "families": None if families is None else _names(families),
        "profiles": None if profiles is None else _names(profiles),
        "hosts": LEAST_HOSTS if smoke_run and hosts is None and not resume else hosts,
        "seed": seed,
        "device": device,
        "smoke": smoke_run or None,
    }
    settings = replace(kept, **{name: value for name, value in given.items() if value is not None})
    check(folder, settings, resume=resume, overwrite=overwrite)
    if dry_run:
        _show_plan(folder, settings, trials=trials, as_json=as_json)
        return
    with stoppable(f"tamiyo train tune-reward {folder} --resume"), reported() as on_progress:
        report = carry_out(
            folder,
            settings,
            trials=trials,
            resume=resume,
            processes=crew,
            on_progress=on_progress,
            on_remark=note,
        )
    if as_json:
        emit_json({"study": str(folder), "better": report.better, **encode(report, {})})
    else:
        _show(folder, report)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _show_plan(folder: Path, settings: Settings, *, trials: int, as_json: bool) -> None:
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_train.codec import encode
    from tamiyo_train.policy.levels import FAMILIES

    plays = settings.plays()
    habits, gates = len(plays[0].habits), len({job.gate for job in plays})
    levels = {name: len(FAMILIES[name].training) for name in settings.families}
    episodes = {name: count * settings.hosts * habits * gates for name, count in levels.items()}
    if as_json:
        plan = {"habits": habits, "gates": gates, "episodes": episodes, "trials": trials}
        emit_json({"study": str(folder), "settings": encode(settings, {}), **plan})
        return
    say(f"would write {folder}")
    say(f"{trials} trials on {sum(episodes.values())} episodes of {settings.episode.steps} training steps")
    table(
        ["family", "levels", "hosts", "habits", "gates", "episodes"],
        [[name, levels[name], settings.hosts, habits, gates, count] for name, count in episodes.items()],
    )


def _show(folder: Path, report: Report) -> None:
    from dataclasses import asdict

    from tamiyo_runtime.cli.render import say, table
    from tamiyo_train.tuning.report import SHIPPED, TUNED

    tuned, shipped = report.row(TUNED), report.row(SHIPPED)
    say(
        f"{report.trials} trials on {report.draws - report.draws_held_out} draws of host weights on {report.levels} "
        f"levels, {report.habits} habits; volume {report.score_shipped:.4f} as shipped, {report.score_tuned:.4f} tuned"
    )
    mine, theirs = asdict(tuned.prices), asdict(shipped.prices)
    table(
        ["weight", "shipped", "tuned", "importance"],
        [[name, f"{theirs[name]:g}", f"{mine[name]:.3g}", _share(report.importance, name)] for name in theirs],
    )
    say()
    say(f"what they choose, judged on {report.draws_held_out} draws that no trial saw, and on how many levels that")
    say("is another habit than as shipped:")
    table(
        ["weights", "score accuracy", "parameters", "energy", "training", "panics", "volume", "changed"],
        [
            [
                row.name,
                f"{row.point.accuracy:.2%}",
                f"{row.point.params:.0f}",
                f"{row.point.energy_ratio:.3f} x host",
                f"{row.point.training_ratio:.2f} x host",
                f"{row.point.events:.3f}",
                f"{row.volume:.4f}",
                row.levels_changed,
            ]
            for row in report.rows
        ],
    )
    say()
    say("less those of the shipped weights, with 95 % intervals, where there is any difference:")
    table(
        ["weights", "volume", "accuracy, points"],
        [
            [row.name, _interval(row.volume_change, 1.0, 4), _interval(row.accuracy_change, 100.0, 2)]
            for row in report.rows
            if row.levels_changed or row.volume_change.mean != 0 or row.accuracy_change.mean != 0
        ],
    )
    say()
    say("the tuned weights are better there" if report.better else "that is no reason to leave the shipped weights")
    say(f"Next:  tamiyo train tune-reward {folder} --resume --trials {2 * report.trials}")


def _interval(change: Difference, unit: float, digits: int) -> str:
    low, mean, high = (f"{unit * value:+.{digits}f}" for value in (change.low, change.mean, change.high))
    return f"{mean} ({low} to {high})"


def _share(importance: object, name: str) -> str | None:
    return f"{importance[name]:.1%}" if isinstance(importance, dict) else None
