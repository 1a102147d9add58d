"""``tamiyo train faults``: make go wrong what can go wrong while a network grows, and count what is rolled back."""

from __future__ import annotations

from typing import Annotated

import typer

from tamiyo_runtime.cli.workers import WorkersOption, workers_for


def faults(
    *,
    count: Annotated[int, typer.Option("--faults", min=1, help="how many; 149 and no miss show a rate of .98")] = 320,
    seed: Annotated[int, typer.Option(min=0, help="everything random follows from it")] = 0,
    task: Annotated[str, typer.Option(help="what the network learns meanwhile")] = "digits",
    chosen: Annotated[str, typer.Option("--kinds", metavar="A,B", help="kinds of faults, all if not given")] = "",
    workers: WorkersOption = "2",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Inject seeded faults into a growing network and measure how surely the governor takes them back.

    A fault counts as rolled back when it was detected within 10 steps, what was restored is bit-equal to what
    was there, and the accuracy is within .1 point. Exit 3 when the rate's 95 % lower bound is below .98.

    Examples:

      tamiyo train faults

      tamiyo train faults --kinds nan-weights,killed-mid-swap --faults 150
    """
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.cli.train_report import reported

    crew = workers_for(workers)  # loads torch beside this process, which takes as long
    from tamiyo_train.faults.campaign import run_campaign

    names = [name.strip() for name in chosen.split(",") if name.strip()]
    with reported() as on_progress:
        report = run_campaign(
            faults=count,
            seed=seed,
            task=task,
            chosen=names,
            processes=crew,
            on_progress=lambda done, total: on_progress("faults", done, total, ""),
        )
    if as_json:
        emit_json(report.to_json())
        report.check()
        return
    table(
        ["kind", "faults", "rolled back", "slowest detection (steps)"],
        [[kind.kind, kind.faults, kind.rolled_back, kind.slowest] for kind in report.by_kind()],
    )
    if report.missed:
        say()
        table(
            ["missed", "kind", "fault", "steps", "bit-equal", "accuracy off by", "told"],
            [
                [trial.index, trial.kind, trial.fault, trial.steps, trial.whole, trial.metric, trial.told]
                for trial in report.missed
            ],
        )
    say()
    figures = f"rate {report.rate:.4f}, at least {report.bound:.4f} (one-sided 95 %, Clopper-Pearson)"
    say(f"rolled back {report.rolled_back} of {len(report.trials)}: {figures}")
    report.check()
