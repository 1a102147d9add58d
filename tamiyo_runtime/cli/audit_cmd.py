"""``tamiyo audit``: what happened to a network while it grew, and whether the log of it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tamiyo_train.audit import Entry

_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, context_settings=_HELP)
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run, finished or killed")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.callback()
def audit() -> None:
    """The audit log of a run: every decision, transition, panic and rollback, chained by hashes."""


@app.command()
def verify(folder: Folder, *, as_json: AsJson = False) -> None:
    """Check that every entry follows from the one before it, and a finished run against its own hash.

    Exit 6 names the first entry that does not fit. Example:  tamiyo audit verify runs/digits
    """
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_train.audit import verify as verify_chain
    from tamiyo_train.audit_store import RECORD, load_log

    log = load_log(folder)
    verify_chain(log.entries)
    if log.file.name == RECORD:
        from tamiyo_train.checkpoint import load_run

        load_run(folder)
    head = log.entries[-1].sha256 if log.entries else None
    counts = _counts(log.entries)
    if as_json:
        emit_json({"run": str(folder), "file": log.file.name, "entries": len(log.entries), "head": head, **counts})
        return
    told = ", ".join(f"{count} {kind}" for kind, count in counts["kinds"].items())
    say(f"{log.file}: {len(log.entries)} entries follow one from the other ({told})")
    if log.file.name != RECORD:
        say("the run is not finished: its log is whole as far as it goes")
    if head is not None:
        say(f"head {head}")


@app.command()
def show(folder: Folder, *, as_json: AsJson = False) -> None:
    """Show the life of every slot, step by step, and what the governor took back.

    Example:  tamiyo audit show runs/digits
    """
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_train.audit import verify as verify_chain
    from tamiyo_train.audit_store import lives, load_log

    log = load_log(folder)
    verify_chain(log.entries)
    timelines = lives(log.entries)
    if as_json:
        emit_json({path: [moment.to_json() for moment in moments] for path, moments in timelines.items()})
        return
    for path, moments in timelines.items():
        say(f"{'network' if path == '' else f'slot {path}'}")
        table(["entry", "step", "what", "state after", "why"], [moment.row() for moment in moments])
        say()
    say(f"Next:  tamiyo audit verify {folder}")


def _counts(entries: Sequence[Entry]) -> dict[str, Any]:
    kinds = sorted({entry.kind for entry in entries})
    return {"kinds": {kind: sum(entry.kind == kind for entry in entries) for kind in kinds}}
