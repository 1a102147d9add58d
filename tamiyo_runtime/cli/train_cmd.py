"""``tamiyo train`` grows a network, ``tamiyo evaluate`` shows what its configurations are worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tamiyo_train.config import TrainConfig
    from tamiyo_train.experiment import OnProgress
    from tamiyo_train.run import ConfigurationRecord, RunRecord


def train(
    folder: Annotated[Path, typer.Argument(metavar="[RUN]", help="folder the run is written to")] = Path("runs/digits"),
    *,
    task: Annotated[str, typer.Option(help="what to learn")] = "digits",
    seed: Annotated[int, typer.Option(min=0, help="everything random follows from it")] = 0,
    growth: Annotated[str, typer.Option(help="who decides: policy, kasmina, random or none")] = "policy",
    episodes: Annotated[int | None, typer.Option(min=0, help="short episodes the policy learns from")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="training steps of the final growth")] = None,
    profile: Annotated[str | None, typer.Option(help="device whose budget growth keeps to, or 'none'")] = None,
    policy_from: Annotated[Path | None, typer.Option(metavar="RUN", help="take the policy of this run")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes; the result is the same")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    dry_run: Annotated[bool, typer.Option(help="print the resolved configuration and stop")] = False,
    smoke_run: Annotated[bool, typer.Option("--smoke", help="the whole path on very little work")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace a run that is there")] = False,
) -> None:
    """Teach a policy, let it grow a network on a task, and compare with the network ungrown and with its static twin.

    Examples:  tamiyo train      tamiyo train runs/b --seed 1 --growth kasmina --profile coral-usb
    """
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_train.pool import prepare

    if workers > 1 and not dry_run:
        prepare()  # loads torch beside this process, which takes as long
    from tamiyo_train.checkpoint import check_free, load_run, save_run
    from tamiyo_train.config import TrainConfig, adapted, plain, smoke
    from tamiyo_train.experiment import check
    from tamiyo_train.experiment import train as train_run

    config = TrainConfig(task=task, seed=seed, growth=growth, workers=workers)
    config = smoke(config) if smoke_run else config
    config = adapted(config, episodes=episodes, steps=steps, profile=profile)
    check(config)
    check_free(folder, overwrite=overwrite)
    source = load_run(policy_from) if policy_from is not None else None
    if dry_run:
        if as_json:
            emit_json({"run": str(folder), "config": plain(config)})
        else:
            _show_plan(folder, config)
        return
    with reported() as on_progress:
        run = train_run(config, policy_from=source, on_progress=on_progress)
    save_run(folder, run, overwrite=overwrite)
    if as_json:
        emit_json(_summary(folder, run.record))
        return
    _show_run(folder, run.record)
    say(f"Next:  tamiyo evaluate {folder} | tamiyo export {folder} --target raspberry-pi-4")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="[RUN]", help="folder of a run")] = Path("runs/digits"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Measure every configuration of a run on the test set anew, and show it beside what training recorded.

    Example:  tamiyo evaluate runs/digits
    """
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_train.checkpoint import load_run
    from tamiyo_train.evaluation import evaluate as evaluate_run

    run = load_run(folder)
    measured = evaluate_run(run)
    if as_json:
        emit_json({**_summary(folder, run.record), "configurations": [_row(item) for item in measured]})
        return
    recorded = {item.gates: item.test_accuracy for item in run.record.configurations}
    table(
        ["configuration", "seeds", "parameters", "MACs", "validation", "test", "test, recorded"],
        [
            [
                row["id"],
                " + ".join(run.record.topology[slot] for slot, on in enumerate(item.gates) if on) or "bare host",
                item.params,
                item.macs,
                f"{item.validation_accuracy:.1%}",
                f"{item.test_accuracy:.1%}",
                f"{recorded[item.gates]:.1%}" if item.gates in recorded else None,
            ]
            for item in measured
            for row in [_row(item)]
        ],
    )
    say()
    _show_results(run.record)
    say(f"Next:  tamiyo export {folder} --target raspberry-pi-4")


@contextlib.contextmanager
def reported() -> Iterator[OnProgress]:
    """A callback that shows each phase of a run as a progress line, and closes the last one."""
    from tamiyo_runtime.cli.render import Progress, progress

    with contextlib.ExitStack() as stack:
        bars: dict[str, Progress] = {}

        def on_progress(phase: str, done: int, total: int, remark: str) -> None:
            if phase not in bars:
                stack.pop_all().close()
                bars[phase] = stack.enter_context(progress(phase, total))
            bars[phase].advance(done - bars[phase].done, remark)

        yield on_progress


def _summary(folder: Path, record: RunRecord) -> dict[str, Any]:
    from tamiyo_runtime.contracts.document import dump

    data = dump(record)
    keys = ("task", "seed", "growth", "profile", "seeds", "results", "methods", "lesson", "configurations")
    return {"run": str(folder), **{key: data[key] for key in keys if key in data}}


def _row(item: ConfigurationRecord) -> dict[str, Any]:
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.plan import Configuration

    return {"id": Configuration.name_of(item.gates), **dump(item)}


def _show_plan(folder: Path, config: TrainConfig) -> None:
    from tamiyo_runtime.cli.render import say, table
    from tamiyo_train.config import plain

    say(f"would write {folder}")
    rows = []
    for key, value in plain(config).items():
        nested = value.items() if isinstance(value, dict) else [(None, value)]
        rows += [[key if inner is None else f"{key}.{inner}", item] for inner, item in nested]
    table(["setting", "value"], rows)


def _show_run(folder: Path, record: RunRecord) -> None:
    from tamiyo_runtime.cli.render import say, table

    say(f"{record.task}: grown by {record.growth}, {len(record.seeds)} of {record.slots} slots filled, in {folder}")
    if record.seeds:
        table(
            ["slot", "seed", "parameters", "MACs", "accuracy it adds", "at least (95 %)"],
            [
                [s.slot, s.blueprint, s.params, s.macs, f"{s.contribution:.1%}", f"{s.contribution_low:.1%}"]
                for s in record.seeds
            ],
        )
        say()
    _show_results(record)
    if record.methods:
        say()
        table(
            ["short episodes by", "episodes", "mean utility", "mean accuracy", "mean parameters"],
            [
                [name, m.episodes, f"{m.mean_utility:.3f}", f"{m.mean_accuracy:.1%}", f"{m.mean_params:.0f}"]
                for name, m in sorted(record.methods.items(), key=lambda item: -item[1].mean_utility)
            ],
        )


def _show_results(record: RunRecord) -> None:
    from tamiyo_runtime.cli.render import table

    names = {"grown": "grown", "ungrown": "same host, ungrown", "twin": "static twin (grown topology from step 0)"}
    table(
        ["network", "test accuracy", "parameters", "MACs", "training GMACs"],
        [
            [title, f"{r.test_accuracy:.1%}", r.params, r.macs, f"{r.training_macs * 1e-9:.1f}"]
            for name, title in names.items()
            for r in [record.results[name]]
        ],
    )
