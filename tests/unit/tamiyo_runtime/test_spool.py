"""The spool keeps what it committed, forgets only what was acked, and never loses in silence."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaVersionError
from tamiyo_runtime.contracts.records import (
    Ack,
    LossReason,
    Priority,
)
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.spool import Key, Spool, boot_name
from tests.records import decision
from tests.unit.tamiyo_runtime.spooling import (
    alarm,
    damage,
    everything,
    metric,
    numbers,
)


def test_numbers_are_dense_and_boots_never_repeat(tmp_path: Path) -> None:
    boots = []
    for _ in range(3):
        with Spool(tmp_path / "s.db") as spool:
            assert [spool.append(metric()) for _ in range(45)] == list(range(45))
            boots.append(spool.boot)
    assert [boot >> 32 for boot in boots] == [1, 2, 3]
    with Spool(tmp_path / "other.db") as other:
        assert other.boot not in boots
    assert boot_name(3 << 32 | 0x0A0B0C0D) == "3.0a0b0c0d"


def test_a_disk_that_is_copied_or_put_back_to_an_earlier_day_never_reuses_a_boot(tmp_path: Path) -> None:
    """A number used twice would look like a repeat to the collector, which would drop a record in silence."""
    with Spool(tmp_path / "s.db"):
        pass
    shutil.copy(tmp_path / "s.db", tmp_path / "copy.db")
    with Spool(tmp_path / "s.db") as original, Spool(tmp_path / "copy.db") as copy:
        assert original.boot >> 32 == copy.boot >> 32 == 2
        assert original.boot != copy.boot


def test_earlier_boots_come_first_within_a_priority(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        first = spool.boot
        spool.append(metric(1))
    with Spool(tmp_path / "s.db") as spool:
        spool.append(metric(2))
        spool.append(alarm(3))
        assert [s.key for s in everything(spool)] == [
            Key(Priority.ALARM, spool.boot, 1),
            Key(Priority.RAW, first, 0),
            Key(Priority.RAW, spool.boot, 0),
        ]


def test_pending_goes_on_behind_a_key(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", group_records=1) as spool:
        for t_ms in range(5):
            spool.append(metric(t_ms))
        first = spool.pending(Priority.RAW, limit=2)
        rest = spool.pending(Priority.RAW, after=first[-1].key)
        assert [s.key.seq for s in first + rest] == [0, 1, 2, 3, 4]


def test_a_group_is_committed_by_count_by_age_and_for_an_alarm(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Spool(tmp_path / "s.db", group_records=3, group_s=1.0, clock=clock) as spool:
        for _ in range(2):
            spool.append(metric())
        assert not everything(spool)
        spool.append(metric())
        assert len(everything(spool)) == 3
        spool.append(metric())
        clock.advance(0.9)
        spool.tick()
        assert len(everything(spool)) == 3
        clock.advance(0.2)
        spool.tick()
        assert len(everything(spool)) == 4
        spool.append(metric())
        spool.append(alarm())
        assert len(everything(spool)) == 6


def test_the_newest_can_be_asked_for_first(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        spool.append(alarm(1))
        first = spool.boot
    with Spool(tmp_path / "s.db") as spool:
        for t_ms in (2, 3):
            spool.append(alarm(t_ms))
        found = spool.pending(Priority.ALARM, newest=True)
        assert [(s.key.boot, s.key.seq) for s in found] == [(spool.boot, 1), (spool.boot, 0), (first, 0)]
        assert spool.pending(Priority.ALARM, newest=True, after=found[0].key, limit=1) == found[1:2]


def test_records_of_a_later_version_are_left_to_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        spool.append(decision())
    damage(tmp_path / "s.db", 0, bytes([wire.VERSION + 1, 2, 0]))
    with Spool(tmp_path / "s.db") as spool:
        with pytest.raises(SchemaVersionError, match="newer"):
            spool.pending(Priority.EVENT)
        assert spool.accounts().dropped == {}


def test_the_file_stays_near_its_bound(tmp_path: Path) -> None:
    path, bound = tmp_path / "s.db", 200_000
    with Spool(path, limit_bytes=bound, group_records=100) as spool:
        for t_ms in range(30_000):
            spool.append(metric(t_ms))
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert size <= 2 * bound + (2 << 20) + (1 << 19)  # pages, a log of 2 MiB, and what one group adds to it


def test_a_second_runtime_is_told_whose_spool_that_is(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db"), pytest.raises(InputError, match="cannot be used") as caught:
        Spool(tmp_path / "s.db")
    assert "its own spool" in str(caught.value.hint)


def test_a_file_that_is_no_spool_is_an_integrity_error(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityError, match="damaged"):
        Spool(tmp_path / "s.db")


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE records (mine)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(InputError, match="something else"):
        Spool(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        Spool(tmp_path / "file" / "s.db")


def test_committed_records_survive_sigkill(tmp_path: Path) -> None:
    """A child reports what it has committed; killed at any moment, at least that much is there afterwards."""
    path = tmp_path / "s.db"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tamiyo_runtime.spool import Spool\n"
        "from tamiyo_runtime.contracts.records import Sample\n"
        "spool = Spool(Path(sys.argv[1]), group_records=20)\n"
        "record = Sample(t_ms=1, configuration='c', answer=1, confidence_permille=1, latency_us=1, energy_uj=1)\n"
        "while True:\n"
        "    seq = spool.append(record)\n"
        "    if seq % 20 == 19: print(spool.boot, seq, flush=True)\n"
    )
    reported: set[tuple[int, int]] = set()
    for lines in (1, 7, 40):
        child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(lines):
            boot, seq = map(int, child.stdout.readline().split())
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout.read().splitlines():
            boot, seq = map(int, line.split())
        child.wait()
        reported |= {(boot, n) for n in range(seq + 1)}
    with Spool(path) as spool:
        assert reported <= set(numbers(spool))


def test_a_spool_without_a_path_is_in_memory_and_its_boot_is_drawn_by_whom_it_is_told(tmp_path: Path) -> None:
    clock, before = VirtualClock(), set(Path.cwd().iterdir())
    spools = [Spool(None, clock=clock, randbits=random.Random(3).getrandbits) for _ in range(2)]
    assert spools[0].boot == spools[1].boot
    with spools[0] as one, spools[1] as two:
        assert one.due_s() == math.inf
        one.append(metric())
        assert one.due_s() == 1.0
        clock.advance(1.0)
        one.tick()
        assert (one.accounts().pending, two.accounts().pending, one.trouble) == (1, 0, None)
        assert one.acked(Ack(one.boot, ((0, 0),))) == 1
    assert set(Path.cwd().iterdir()) == before


def test_boots_of_which_nothing_waits_are_forgotten_in_time_and_the_balance_holds(tmp_path: Path) -> None:
    numbers = []
    for number in range(80):
        with Spool(tmp_path / "s.db") as spool:
            numbers.append(spool.boot)
            spool.append(metric())
            spool.commit()
            if number % 2:
                spool.drop([spooled.key for spooled in spool.pending(Priority.RAW)], LossReason.EXPIRED)
            waiting = everything(spool)
            for boot in {spooled.key.boot for spooled in waiting}:
                seqs = tuple((s.key.seq, s.key.seq) for s in waiting if s.key.boot == boot)
                spool.acked(Ack(boot=boot, ranges=seqs))
    with Spool(tmp_path / "s.db") as spool:
        boots = [times.boot for times in spool._rows.boots()]
        assert boots == [*numbers[-63:], spool.boot]
        assert spool._rows.one("SELECT MIN(boot) FROM drops") >= boots[0]
        accounts = spool.accounts()
        assert accounts.created == accounts.acked + accounts.pending + sum(accounts.dropped.values())


def test_a_boot_of_which_something_waits_is_remembered_with_all_after_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db") as spool:
        first = spool.boot
        spool.append(alarm())
    for _ in range(70):
        Spool(tmp_path / "s.db").close()
    with Spool(tmp_path / "s.db") as spool:
        assert spool._rows.boots()[0].boot == first
        assert len(spool._rows.boots()) == 72
        assert spool.created(first) == 1
        spool.acked(Ack(boot=first, ranges=((0, 0),)))
    with Spool(tmp_path / "s.db") as spool:
        assert len(spool._rows.boots()) == 64
