"""``tamiyo audit``: what happened to a network while it grew, or to a device, and whether the log of it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tamiyo_runtime.audit import Record
    from tamiyo_train.audit import Entry

_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, context_settings=_HELP)
Folder = Annotated[
    Path, typer.Argument(metavar="RUN", help="folder of a run, finished or killed, or state folder of a device")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.callback()
def audit() -> None:
    """The audit log of a run or of a device: what was decided, what happened, chained by hashes."""


@app.command()
def verify(
    folder: Folder,
    *,
    checkpoint: Annotated[
        str | None, typer.Option(help="of a device's log, as its telemetry reported it: nothing before may be gone")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that every entry follows from the one before it, and a finished run against its own hash.

    Exit 6 names the first entry that does not fit. Example:  tamiyo audit verify runs/digits
    """
    from tamiyo_runtime.audit import is_log
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.contracts.errors import UsageError

    if is_log(folder):
        _verify_device(folder, checkpoint, as_json=as_json)
        return
    if checkpoint is not None:
        raise UsageError("--checkpoint is for the log of a device", hint="a run's log ends with its own hash")
    from tamiyo_train.audit import verify as verify_chain
    from tamiyo_train.audit_store import RECORD, load_log
    from tamiyo_train.work import is_unfinished

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
    if is_unfinished(folder):
        say("what was begun there is not finished: its log is whole as far as it goes")
    if head is not None:
        say(f"head {head}")


@app.command()
def show(folder: Folder, *, as_json: AsJson = False) -> None:
    """Show the life of every slot, step by step, and what the governor took back.

    Of a device: what happened to it, a record a line. Example:  tamiyo audit show runs/digits
    """
    from tamiyo_runtime.audit import is_log
    from tamiyo_runtime.cli.render import emit_json, say, table

    if is_log(folder):
        _show_device(folder, as_json=as_json)
        return
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


def _verify_device(folder: Path, checkpoint: str | None, *, as_json: bool) -> None:
    from tamiyo_runtime.audit import check_checkpoint, read_log
    from tamiyo_runtime.cli.render import emit_json, say

    records = read_log(folder)
    if not records:
        say(f"{folder}: the log holds no finished record")
        return
    if checkpoint is not None:
        check_checkpoint(records, checkpoint)
    counts, head = _counts(records), records[-1].checkpoint
    if as_json:
        first = records[0].index
        emit_json({"folder": str(folder), "first": first, "records": len(records), "checkpoint": head, **counts})
        return
    told = ", ".join(f"{count} {kind}" for kind, count in counts["kinds"].items())
    say(f"{folder}: {len(records)} records follow one from the other ({told})")
    if records[0].index:
        say(f"records before {records[0].index} were taken away by the rotation")
    if checkpoint is not None:
        say(f"record {checkpoint.partition(':')[0]} is the one that was reported")
    say(f"checkpoint {head}")


def _show_device(folder: Path, *, as_json: bool) -> None:
    from datetime import UTC, datetime

    from tamiyo_runtime.audit import read_log
    from tamiyo_runtime.cli.render import emit_json, say, table

    records = read_log(folder)
    if as_json:
        emit_json([{"index": r.index, "time_ms": r.time_ms, "kind": r.kind, "data": dict(r.data)} for r in records])
        return
    rows = [
        [
            record.index,
            datetime.fromtimestamp(record.time_ms / 1e3, UTC).isoformat(sep=" ", timespec="seconds"),
            record.kind,
            ", ".join(f"{name} {value}" for name, value in record.data.items()),
        ]
        for record in records
    ]
    table(["record", "time (UTC, by its clock)", "what", "details"], rows)
    say(f"Next:  tamiyo audit verify {folder}")


def _counts(entries: Sequence[Entry | Record]) -> dict[str, Any]:
    kinds = sorted({entry.kind for entry in entries})
    return {"kinds": {kind: sum(entry.kind == kind for entry in entries) for kind in kinds}}
