"""``tamiyo collect export`` and ``report``: what a store of telemetry holds, for programs and for people."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collector.reading import Wanted
    from collector.store import Store
    from collector.summary import Summary
    from tamiyo_runtime.cli.render import Progress

File = Annotated[Path, typer.Argument(metavar="STORE", help="file that `tamiyo collect --store` wrote")]
Device = Annotated[str | None, typer.Option(help="of one device only")]
Since = Annotated[str | None, typer.Option(help="made then or later: 2026-05-01, 2026-05-01T12:00, Unix seconds; UTC")]
Until = Annotated[str | None, typer.Option(help="made before that moment")]
_STRIDE = 1000


def export(
    store: File,
    *,
    out: Annotated[Path, typer.Option(help="FILE.csv, FILE.jsonl or FILE.parquet")],
    kind: Annotated[str, typer.Option(help="samples, windows, decisions, events or tombstones")],
    device: Device = None,
    since: Since = None,
    until: Until = None,
    overwrite: Annotated[bool, typer.Option(help="replace a file that exists")] = False,
) -> None:
    """Write collected records of one kind to a file, each with the time it was made and how well that is known.

    Example:  tamiyo collect export telemetry.db --kind windows --out windows.csv
    """
    from collector.export import KINDS, WRITERS, columns, parquet_library, row
    from tamiyo_runtime.cli.render import progress, say
    from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
    from tamiyo_runtime.files import check_writable, write_in_place

    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    writer = WRITERS.get(out.suffix)
    if writer is None:
        raise InputError(f"{out} names no format", hint=f"end it in {', '.join(WRITERS)}")
    if out.suffix == ".parquet":
        parquet_library()  # missing: said before the store is read
    wanted = _wanted(device, since, until)
    check_writable(out)
    with (
        _opened(store, device) as opened,
        progress(f"export {kind}", opened.count(KINDS[kind], device=device)) as bar,
        write_in_place(out, overwrite=overwrite) as stream,
    ):
        records = opened.records(KINDS[kind], wanted)
        writer(stream, columns(KINDS[kind]), _counted(map(row, records), bar))
    say(f"{bar.done} {kind} in {out}")


def report(
    store: File,
    *,
    device: Device = None,
    since: Since = None,
    until: Until = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show of each device what it sent and lost, how fast it was, its last mode and how well its times are known.

    Example:  tamiyo collect report telemetry.db --since 2026-05-01
    """
    from collector.summary import summaries
    from tamiyo_runtime.cli.render import emit_json

    wanted = _wanted(device, since, until)
    with _opened(store, device) as opened:
        found = list(summaries(opened, wanted))
    if as_json:
        emit_json({"store": str(store), "devices": [_data(summary) for summary in found]})
    else:
        _show(found)


def moment_s(text: str, option: str) -> float:
    """Unix seconds of a date, a time (UTC unless it says otherwise) or Unix seconds; raises InputError."""
    from tamiyo_runtime.contracts.errors import InputError

    for read in (float, _timestamp):
        try:
            moment = read(text)
        except (ValueError, OverflowError):
            continue
        if math.isfinite(moment):
            return moment
    raise InputError(f"{option}: {text!r} is no moment", hint="as in 2026-05-01, 2026-05-01T12:00+02:00 or 1777593600")


def _timestamp(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _wanted(device: str | None, since: str | None, until: str | None) -> Wanted:
    from collector.reading import Wanted
    from tamiyo_runtime.contracts.errors import InputError

    since_s = None if since is None else moment_s(since, "--since")
    until_s = None if until is None else moment_s(until, "--until")
    if since_s is not None and until_s is not None and until_s <= since_s:
        raise InputError(f"nothing was made from {since} on and before {until}", hint="--until must be later")
    return Wanted(device=device, since_s=since_s, until_s=until_s)


def _opened(path: Path, device: str | None) -> Store:
    """The store. Raises InputError for a device it has never heard of: a slip of the pen is no empty result."""
    from collector.store import Store
    from tamiyo_runtime.contracts.errors import InputError

    store = Store(path, read_only=True)
    known = [one.device for one in store.devices()] if device is not None else []
    if device is not None and device not in known:
        store.close()
        near = difflib.get_close_matches(device, known)
        hint = f"did you mean {' or '.join(near)}?" if near else "tamiyo collect report STORE lists them"
        raise InputError(f"no device {device!r} in {path}", hint=hint)
    return store


def _counted(rows: Iterable[dict[str, Any]], bar: Progress) -> Iterator[dict[str, Any]]:
    count = 0
    for count, one in enumerate(rows, 1):
        yield one
        if count % _STRIDE == 0:
            bar.advance(_STRIDE)
    bar.advance(count % _STRIDE)


def _data(summary: Summary) -> dict[str, Any]:
    from collector.export import iso
    from collector.summary import SHARES
    from tamiyo_runtime.spool import boot_name

    work = summary.work
    return {
        "device": summary.device.device,
        "state": summary.device.state or None,
        "mode": summary.mode,
        "last_heard": iso(round(summary.device.last_s * 1000)),
        "sent": sum(entry.sent for entry in summary.ledger),
        "stored": sum(entry.stored for entry in summary.ledger),
        "lost": summary.lost,
        "missing": sum(entry.missing for entry in summary.ledger),
        "balanced": all(entry.balanced for entry in summary.ledger),
        "windows": work.windows,
        "inferences": work.inferences,
        "skipped": work.skipped,
        "deadline_misses": work.deadline_misses,
        "energy_uj": work.energy_uj,
        "latency_us": {f"p{100 * share:.0f}": _rounded(work.quantile_us(share)) for share in SHARES},
        "latency_relative_error": None if work.latency is None else round(work.latency.relative_error, 4),
        "inferences_without_sketch": work.unsketched,
        "clocks": {
            boot_name(entry.boot): _clock(summary, entry.boot)
            for entry in sorted(summary.ledger, key=lambda entry: entry.boot)
        },
    }


def _clock(summary: Summary, boot: int) -> dict[str, Any]:
    fix = summary.fixes.get(boot)
    if fix is None:
        return {"source": "arrival"}
    return {"source": fix.source.value, "offset_ms": fix.offset_ms, "error_ms": fix.error_ms}


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _show(found: list[Summary]) -> None:
    from tamiyo_runtime.cli.render import say, table

    if not found:
        say("no device was heard of")
        return
    rows = []
    for summary in found:
        data = _data(summary)
        lost = ", ".join(f"{count} {reason}" for reason, count in data["lost"].items()) or "0"
        clocks = sorted({clock["source"] for clock in data["clocks"].values()})
        rows.append(
            [
                data["device"], data["state"], data["mode"], data["sent"], data["stored"], lost, data["missing"],
                data["inferences"], *data["latency_us"].values(), data["deadline_misses"], ", ".join(clocks) or None,
            ]
        )  # fmt: skip
    heads = ["device", "state", "mode", "sent", "stored", "lost", "missing", "inferences"]
    table([*heads, "p50 us", "p95 us", "p99 us", "late", "clock"], rows)
    bare = sum(summary.work.unsketched for summary in found)
    if bare:
        say(f"{bare} inferences are in windows without a sketch: they count, but not in the percentiles")
