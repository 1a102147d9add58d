"""``tamiyo demo``: train, export for two targets, run two simulated boards over LoRa, collect, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    out: Annotated[Path, typer.Option(help="folder for the run, bundles, telemetry and report")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="processes that train")] = 2,
    smoke: Annotated[bool, typer.Option("--smoke", help="the same path on very little work; learns nothing")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace what an earlier demo left in the folder")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """The whole path on this machine, without network, root or hardware; ends with report.html to look at.

    Example: tamiyo demo --out demo-out
    """
    from tamiyo_runtime.cli.demo import acts
    from tamiyo_runtime.cli.render import emit_json, say

    stage = acts.Stage(out=out, seed=seed, workers=workers, smoke=smoke, overwrite=overwrite, quiet=as_json)
    stage.check()
    if dry_run:
        for line in stage.outline():
            say(line)
        say("dry run: nothing was done")
        return
    summary = stage.play()
    if as_json:
        emit_json(summary.as_data())
    else:
        summary.show()
    summary.judge()
