"""Records and spools of tests."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

from tamiyo_runtime.contracts.records import (
    Event,
    EventRecord,
    Priority,
    Record,
    Sample,
)
from tamiyo_runtime.spool import Spool, Spooled

DAYS = 2.0
"""How old records get, by `ages.bounds_s`."""


def metric(t_ms: int = 0) -> Sample:
    return Sample(t_ms=t_ms, configuration="c0", answer=1, confidence_permille=9, latency_us=5, energy_uj=5)


def alarm(t_ms: int = 0) -> EventRecord:
    return EventRecord(t_ms=t_ms, event=Event.MODE, detail="safe")


def everything(spool: Spool) -> list[Spooled]:
    return [spooled for priority in Priority for spooled in spool.pending(priority, limit=10**6)]


def held(spool: Spool) -> list[Spooled]:
    """In memory and in the file."""
    return [
        spooled
        for rows in spool._home._both()
        for priority in Priority
        for spooled in rows.page(priority, None, -1, newest=False)[0]
    ]


def numbers(spool: Spool) -> list[tuple[int, int]]:
    return sorted((spooled.key.boot, spooled.key.seq) for spooled in everything(spool))


def fill_up(spool: Spool) -> None:
    """Let the disk be full, to SQLite's knowledge."""
    file = spool._home._file
    assert file is not None
    file.db.execute(f"PRAGMA max_page_count = {file.one('PRAGMA page_count')}")


def free(spool: Spool) -> None:
    assert spool._home._file is not None
    spool._home._file.db.execute("PRAGMA max_page_count = 1000000")


def damage(path: Path, seq: int, body: bytes) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute("UPDATE records SET body = ? WHERE seq = ?", (body, seq)).rowcount == 1


def long(record: Record, number: int = 0, size: int = 200) -> Record:
    """Of so many bytes and more, so that a page is soon full."""
    return replace(record, t_ms=number, extra={"x": "y" * size})  # type: ignore[type-var, call-arg]  # every kind has both
