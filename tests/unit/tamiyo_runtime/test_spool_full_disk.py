"""A spool whose disk is full, from the start, on the way, or to the end."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.records import (
    Ack,
    LossReason,
    Priority,
    Sample,
    Tombstone,
)
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.reserve import FLOOR_BYTES, Space
from tamiyo_runtime.spool import Key, Spool
from tamiyo_runtime.spool_rows import Rows
from tests.records import decision
from tests.unit.tamiyo_runtime.spooling import (
    alarm,
    everything,
    fill_up,
    free,
    long,
    metric,
)


def test_a_disk_that_stays_full_to_the_end_says_how_much_is_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", group_records=100)
    fill_up(spool)
    for t_ms in range(90):
        spool.append(replace(metric(t_ms), extra={"x": "y" * 200}))
    with pytest.raises(TamiyoError, match=r"90 records are lost.*full"):
        spool.close()
    with Spool(tmp_path / "s.db") as again:
        assert everything(again) == []


def test_on_a_full_disk_the_spool_is_in_memory_and_back_in_its_file_when_there_is_room(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", clock=clock) as spool:
        spool.append(alarm())
        fill_up(spool)
        for number in range(99):
            spool.append(long(metric(), number))
        spool.commit()
        assert spool.trouble is not None and "full" in spool.trouble
        assert [s.key.seq for s in everything(spool)] == list(range(1, 100))  # what can be sent meanwhile
        assert spool.created(spool.boot) == 100
        spool.acked(Ack(spool.boot, ((1, 50),)))
        accounts = spool.accounts()
        assert (accounts.created, accounts.acked, accounts.pending) == (100, 50, 50)
        free(spool)
        clock.advance(2.0)
        spool.tick()
        assert spool.trouble is None
        assert [s.key.seq for s in everything(spool)] == [0, *range(51, 100)]
        assert spool.accounts() == accounts
    with Spool(tmp_path / "s.db") as again:
        assert [s.key.seq for s in everything(again)] == [0, *range(51, 100)]


def test_memory_has_its_bound_and_what_that_costs_is_accounted_for(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", clock=clock, memory_bytes=100_000) as spool:
        spool.append(metric(0))
        spool.commit()
        fill_up(spool)
        decisions, alarms = [], []
        for number in range(1, 6_000):
            if number % 50 == 0:
                decisions.append(spool.append(long(decision(), number)))
            elif number % 2000 == 1:
                alarms.append(spool.append(alarm(number)))
            else:
                spool.append(long(metric(), number))
            clock.advance(0.01)
            assert spool.pending_bytes < 150_000
        assert spool.trouble is not None
        free(spool)
        clock.advance(100.0)
        spool.tick()
        assert spool.trouble is None
        left = everything(spool)
        assert set(decisions) | set(alarms) <= {s.key.seq for s in left}
        stones = [s.record for s in left if isinstance(s.record, Tombstone)]
        buried = [seq for stone in stones for seq in range(stone.first_seq, stone.last_seq + 1)]
        accounts = spool.accounts()
        assert accounts.created == accounts.pending + accounts.dropped[LossReason.SPOOL_FULL]
        assert sorted(buried + [s.key.seq for s in left]) == list(range(accounts.created))
        kept = [s.record.t_ms for s in left if s.key.priority is Priority.RAW]
        assert 5_999 in kept and len(kept) > 100  # the latest


def test_what_is_left_in_memory_at_the_end_is_named_number_by_number(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db", memory_bytes=20_000, group_records=1000)
    fill_up(spool)
    for number in range(2000):
        spool.append(long(metric(), number))
    spool.commit()
    first = next(s.key.seq for s in everything(spool) if isinstance(s.record, Sample))
    last = everything(spool)[-1].key.seq
    assert first > 1000  # the others were dropped, and nobody was told
    spool.acked(Ack(spool.boot, ((first, first + 4),)))
    assert spool.settle() == ((0, first - 1), (first + 5, last))
    with pytest.raises(TamiyoError, match="are lost"):
        spool.close()


def test_a_disk_that_is_full_from_the_start_puts_the_spool_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a file of earlier days, which the spool finds again when there is room."""
    clock, path = VirtualClock(), tmp_path / "s.db"
    with Spool(path, clock=clock) as spool:
        spool.append(decision(1))
        earlier = spool.boot
    begin = Rows.begin

    def full(rows: Rows, *values: object) -> None:
        if rows.one("SELECT COUNT(*) FROM pragma_database_list WHERE file != ''"):
            fill = sqlite3.OperationalError("database or disk is full")
            fill.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise fill
        begin(rows, *values)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Rows, "begin", full)
    with Spool(path, clock=clock) as spool:
        assert spool.trouble is not None
        assert spool.boot >> 32 == (earlier >> 32) + 1  # a full disk can be read
        assert spool.append(decision(2)) == 0
        spool.commit()
        assert [s.key for s in everything(spool)] == [Key(Priority.EVENT, spool.boot, 0)]
        clock.advance(2.0)
        spool.tick()
        assert spool.trouble is None
        assert [s.key for s in everything(spool)] == [
            Key(Priority.EVENT, earlier, 0),
            Key(Priority.EVENT, spool.boot, 0),
        ]


def test_the_spool_does_not_grow_while_less_than_the_reserve_is_free(tmp_path: Path) -> None:
    clock, disk = VirtualClock(), [Space(total=1 << 30, free=1 << 29)]
    with Spool(tmp_path / "s.db", clock=clock, reserve=0.05, space=lambda: disk[0]) as spool:
        for number in range(12_000):
            spool.append(long(decision(), number))
        spool.commit()
        held = spool.pending_bytes
        assert held > 2 * FLOOR_BYTES
        disk[0] = Space(total=1 << 30, free=1 << 25)  # somebody takes what was free, but for 3 %
        clock.advance(60.0)
        for number in range(2_000):
            spool.append(long(decision(), number))
        assert spool.pending_bytes <= held + 100_000  # and what a log of pages had free
        dropped = spool.accounts().dropped[LossReason.SPOOL_FULL]
        assert 1000 < dropped < 4000
        spool.acked(Ack(spool.boot, ((0, 8_000),)))
        clock.advance(60.0)
        for number in range(2_000):  # what the file has free is the spool's to use
            spool.append(long(decision(), number))
        assert spool.accounts().dropped[LossReason.SPOOL_FULL] == dropped


def test_a_disk_that_others_fill_leaves_the_spool_a_floor(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", reserve=0.05, space=lambda: Space(total=1 << 30, free=0)) as spool:
        for number in range(6_000):
            spool.append(long(decision(), number))
        assert 0.8 * FLOOR_BYTES < spool.pending_bytes <= FLOOR_BYTES + 30_000
