"""``tamiyo train`` grows a network, ``tamiyo evaluate`` shows what its configurations are worth."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_runtime.cli.train_report import (
    metric_names,
    metric_texts,
    reported,
    show_measures,
    show_plan,
    show_results,
    show_run,
    summary,
)
from tamiyo_runtime.cli.workers import WorkersOption, workers_for

if TYPE_CHECKING:
    from tamiyo_train.run import ConfigurationRecord, RunRecord

__all__ = ["evaluate", "reported", "train"]
# What comes with tamiyo, so that help needs no torch; a test holds both to the registries.
TASKS = (
    "captions, checkerboard, clusters, complex-moons, digits, digits-c, ecg, imu, language, mnist1d, moons, spheres, "
    "spirals, xor"
)
FORMATS = "csv, hapt, har, idx, mnist-json, text, wfdb"
HOSTS = "attention1d, causal1d, conv1d, dsconv, mlp, mlp-shallow, mlp-skip, pairs"
_TERMINATED = 143  # 128 + SIGTERM, as shells have it


def train(
    folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="folder the run is written to; runs/TASK when left out")
    ] = None,
    *,
    task: Annotated[str | None, typer.Option(help=f"what to learn: {TASKS}; digits when left out")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help=f"your own files instead; --task then names their format: {FORMATS}; told by their names else"
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help=f"network to start from: {HOSTS}; the task's own when left out")
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="channels of the host")] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="hidden layers of mlp or mlp-skip, a slot behind each; 3 when left out")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="everything random follows from it; 0 when left out")] = None,
    growth: Annotated[
        str | None,
        typer.Option(
            metavar="WHO",
            help="who decides: policy, shipped, kasmina, random, none, a run or a course whose policy does, a schedule",
        ),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=0, help="short episodes the policy learns from")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="training steps of the final growth")] = None,
    profile: Annotated[str | None, typer.Option(help="device whose budget growth keeps to, or 'none'")] = None,
    nested: Annotated[
        int | None, typer.Option(min=0, help="slots inside seeds that can be open at a time; not with a policy")
    ] = None,
    attack: Annotated[
        float | None,
        typer.Option(help="train against FGSM of this size on half of every batch; inputs in 0..1, so 0.03 is 3 %"),
    ] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option("--checkpointing", help="recompute activations instead of keeping them; sequence hosts only"),
    ] = None,
    workers: WorkersOption = "2",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="write event files to RUN/events")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print settings and memory needed, do nothing")] = False,
    smoke_run: Annotated[bool, typer.Option("--smoke", help="the whole path on very little work")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a run that is there")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an interrupted run was")] = False,
) -> None:
    """Teach a policy, let it grow a network on a task, and compare with the network ungrown and with its static twin.

    Fault injection is a command of its own: tamiyo train faults --help

    Examples:

      tamiyo train

      tamiyo train runs/b --task spirals --seed 1 --growth kasmina

      tamiyo train runs/mine --data recordings/

      tamiyo train runs/b --resume
    """
    from tamiyo_runtime.cli.render import emit_json, note, say

    crew = workers_for(workers, dry_run=dry_run)  # loads torch beside this process, which takes as long
    from tamiyo_train.plan import Wishes, planned
    from tamiyo_train.pool import held

    wishes = Wishes(
        task=task,
        data=data,
        host=host,
        width=width,
        depth=depth,
        seed=seed,
        growth=growth,
        episodes=episodes,
        steps=steps,
        profile=profile,
        nested=nested,
        attack=attack,
        checkpointing=checkpointing,
        smoke=smoke_run,
    )
    plan = planned(folder, wishes, overwrite=overwrite, resume=resume)
    if tensorboard:
        from tamiyo_train.events import check_installed

        check_installed()
    if dry_run:
        from tamiyo_train.jobs import regions_of
        from tamiyo_train.memory import planned_report

        memory, regions = planned_report(plan.config), regions_of(plan.config)
        if as_json:
            from tamiyo_train.config import plain

            body = {"run": str(plan.folder), "config": plain(plan.config), "memory": memory.to_json()}
            emit_json({**body, "regions": [str(region) for region in regions]})
        else:
            show_plan(plan.folder, plan.config, memory, regions)
        return
    with held(crew), stoppable(f"tamiyo train {plan.folder} --resume"), reported() as on_progress:
        run = plan.carry_out(
            workers=crew,
            resume=resume,
            events=plan.folder / "events" if tensorboard else None,
            on_progress=on_progress,
            on_remark=note,
        )
    if as_json:
        emit_json(summary(plan.folder, run.record))
        return
    show_run(plan.folder, run.record)
    if tensorboard:
        say(f"Look:  tensorboard --logdir {plan.folder / 'events'}")
    say(f"Next:  tamiyo evaluate {plan.folder}{_export_of(plan.folder, run.record, before=' | ')}")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")] = Path("runs/digits"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Measure every configuration of a run on the test set anew, and show it beside what training recorded.

    Example:  tamiyo evaluate runs/digits
    """
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_train.checkpoint import load_run
    from tamiyo_train.evaluation import evaluate as evaluate_run
    from tamiyo_train.measures import measures_of

    run = load_run(folder)
    measured, measures = evaluate_run(run), measures_of(run)
    if as_json:
        emit_json(
            {
                **summary(folder, run.record),
                "configurations": [_row(item) for item in measured],
                "measures": [{**dump(item), "held": item.held} for item in measures],
            }
        )
        return
    recorded = {item.gates: item.test_accuracy for item in run.record.configurations}
    table(
        [
            "configuration",
            "seeds",
            "parameters",
            "MACs",
            "validation",
            "test",
            "test, recorded",
            *metric_names(run.record),
        ],
        [
            [
                row["id"],
                " + ".join(run.record.topology[slot] for slot, on in enumerate(item.gates) if on) or "bare host",
                item.params,
                item.macs,
                f"{item.validation_accuracy:.1%}",
                f"{item.test_accuracy:.1%}",
                f"{recorded[item.gates]:.1%}" if item.gates in recorded else None,
                *metric_texts(run.record, item.test_metric),
            ]
            for item in measured
            for row in [_row(item)]
        ],
    )
    say()
    show_results(run.record)
    if measures:
        say()
        show_measures(measures)
    if following := _export_of(folder, run.record):
        say(f"Next:  {following}")


def _export_of(folder: Path, record: RunRecord, *, before: str = "") -> str:
    """The command that exports a run, ``before`` in front of it; nothing when its task has no answer to deploy."""
    from tamiyo_train.data import task_of_run
    from tamiyo_train.handover import deployable

    return f"{before}tamiyo export {folder} --target raspberry-pi-4" if deployable(task_of_run(record)) else ""


@contextlib.contextmanager
def stoppable(go_on: str) -> Iterator[None]:
    """SIGTERM stops work the way Ctrl-C does: workers ended, and word of the command to go on with."""
    from tamiyo_runtime.cli.render import note

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.SIGTERM)

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    except KeyboardInterrupt as exc:
        note(f"stopped; go on with: {go_on}")
        if exc.args == (signal.SIGTERM,):
            raise typer.Exit(_TERMINATED) from None
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _row(item: ConfigurationRecord) -> dict[str, Any]:
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.plan import Configuration

    return {"id": Configuration.name_of(item.gates), **dump(item)}
