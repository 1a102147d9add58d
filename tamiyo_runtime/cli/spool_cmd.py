"""``tamiyo spool``: what waits on a device to be sent. Only ever reads, also beside a running runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tamiyo_runtime.spool_view import SpoolView

_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, context_settings=_HELP)
File = Annotated[Path, typer.Argument(metavar="SPOOL", help="DEVICE.spool in the state folder of `tamiyo run`")]


@app.callback()
def spool() -> None:
    """The queue of telemetry on a device's disk."""


@app.command()
def inspect(file: File, *, as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Show what waits, by priority class, what was lost, and what writing it costs in flash.

    Example:  tamiyo spool inspect ~/.local/state/tamiyo/device-1.spool
    """
    from tamiyo_runtime.cli.render import emit_json
    from tamiyo_runtime.spool_view import SpoolReader

    with SpoolReader(file) as reader:
        view = reader.look()
    if as_json:
        emit_json(_as_data(view))
    else:
        _show(view)


@app.command()
def dump(
    file: File,
    *,
    since_seq: Annotated[int, typer.Option(min=0, help="records of this number and later")] = 0,
    boot: Annotated[str | None, typer.Option(help="of one boot, as `inspect` names it")] = None,
) -> None:
    """Print the waiting records as JSON lines, in the order of sending.

    Example:  tamiyo spool dump device-1.spool --since-seq 1000 > waiting.jsonl
    """
    import json

    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.spool_view import SpoolReader

    with SpoolReader(file) as reader:
        for record in reader.dump(since_seq=since_seq, boot=boot):
            say(json.dumps(record, ensure_ascii=False, separators=(",", ":")))


def _as_data(view: SpoolView) -> dict[str, Any]:
    return {
        "spool": str(view.path),
        "file_bytes": view.file_bytes,
        "waiting": {
            priority.name.lower(): {"records": w.records, "bytes": w.size_bytes, "age_at_least_s": w.age_s}
            for priority, w in view.waiting.items()
        },
        "tombstones": view.tombstones,
        "buried": {str(reason): count for reason, count in view.buried.items()},
        "boots": [
            {
                "boot": boot.boot,
                "created": boot.created,
                "acked": boot.acked,
                "pending": boot.pending,
                "dropped": {str(reason): count for reason, count in boot.dropped.items()},
                "seconds": boot.seconds,
                "flash_written_bytes": boot.written_bytes,
                "flash_bytes_per_day_estimate": boot.flash_bytes_per_day,
            }
            for boot in view.boots
        ],
    }


def _show(view: SpoolView) -> None:
    from tamiyo_runtime.cli.render import say, table

    rows = [
        [priority.name.lower(), w.records, w.size_bytes, None if w.age_s is None else f"{w.age_s:.0f}"]
        for priority, w in view.waiting.items()
    ]
    table(["waiting", "records", "bytes", "oldest, s (at least)"], rows)
    buried = ", ".join(f"{count} {reason}" for reason, count in view.buried.items()) or "none"
    say(f"tombstones       {view.tombstones}, for records lost: {buried}")
    say(f"file             {view.file_bytes} bytes with its log, {view.path}")
    say()
    rows = []
    for boot in view.boots:
        dropped, rate = sum(boot.dropped.values()), boot.flash_bytes_per_day
        per_day = None if rate is None else f"{rate / 1e6:.1f}"
        rows.append([boot.boot, boot.created, boot.acked, boot.pending, dropped, f"{boot.seconds:.0f}", per_day])
    table(["boot", "created", "acked", "waiting", "dropped", "duration, s", "flash, MB/day (estimate)"], rows)
    say("flash: what the kernel counted for the spool's commits over the boot's time, without the file system's own")
