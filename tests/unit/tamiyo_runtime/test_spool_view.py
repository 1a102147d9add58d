"""Looking into a spool: the figures are its own, nothing is touched, and a writer at work is no obstacle."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.records import (
    Ack,
    Event,
    EventRecord,
    LossReason,
    Priority,
    record_to_dict,
)
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.spool import Spool, boot_name
from tamiyo_runtime.spool_file import FlashMeter
from tamiyo_runtime.spool_view import BootView, SpoolReader
from tests.records import decision
from tests.unit.tamiyo_runtime.cli.conftest import Tamiyo, tamiyo  # noqa: F401 - a fixture

WRITER = """
import sys
from collections.abc import Callable
from pathlib import Path
from tamiyo_runtime.contracts.records import Ack
from tamiyo_runtime.spool import Spool
from tests.records import decision
with Spool(Path(sys.argv[1]), limit_bytes=60_000) as spool:
    for number in range(10**9):
        spool.append(decision(number))
        if number % 400 == 399:
            spool.acked(Ack(spool.boot, ((number - 399, number - 300),)))
        if number == 2000:
            print("at work", flush=True)
"""


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in folder.iterdir()
    }


def test_a_spool_in_use_tells_what_waits_and_stays_as_it_is(tmp_path: Path, tamiyo: Tamiyo) -> None:  # noqa: F811
    clock, path = VirtualClock(), tmp_path / "d.spool"
    with Spool(path, clock=clock) as spool:
        for second in range(100):
            spool.append(decision(second * 1000))
            clock.advance(1.0)
        spool.append(EventRecord(t_ms=100_000, event=Event.STOP))
        spool.acked(Ack(spool.boot, ((0, 9),)))
        before = state(tmp_path)
        outcome = tamiyo("spool", "inspect", path, "--json")
        assert outcome.code == 0
        assert state(tmp_path) == before
        shown = json.loads(outcome.out)
        waiting = shown["waiting"]
        assert [waiting[name]["records"] for name in ("alarm", "event", "metric")] == [1, 90, 0]
        assert sum(waiting[name]["bytes"] for name in waiting) == spool.pending_bytes
        assert waiting["event"]["age_at_least_s"] == pytest.approx(90.0, abs=5.0)  # the oldest is of second 10
        assert waiting["metric"]["age_at_least_s"] is None
        (boot,) = shown["boots"]
        assert (boot["boot"], boot["created"], boot["acked"], boot["pending"]) == (boot_name(spool.boot), 101, 10, 91)
        assert boot["seconds"] == 100.0
        lines = tamiyo("spool", "dump", path, "--since-seq", "98").out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [100, 98, 99]  # the alarm first
    assert {"boot": boot["boot"], "seq": 98, "class": "event", **record_to_dict(decision(98_000))} == json.loads(
        lines[1]
    )
    plain = tamiyo("spool", "inspect", path)
    assert plain.code == 0
    assert "(estimate)" in plain.out


def test_losses_are_told_from_the_tombstones_that_wait(tmp_path: Path) -> None:
    with Spool(tmp_path / "d.spool", limit_bytes=4000, clock=VirtualClock()) as spool:
        for number in range(500):
            spool.append(decision(number))
        spool.commit()
        accounts = spool.accounts()
        with SpoolReader(spool.path) as reader:
            view = reader.look()
    assert view.tombstones == view.waiting[Priority.ALARM].records > 0
    assert view.buried == accounts.dropped == view.boots[0].dropped
    assert view.buried[LossReason.SPOOL_FULL] > 300


def test_every_look_at_a_spool_that_is_being_written_is_of_one_moment(tmp_path: Path) -> None:
    """Were database and log of different moments, sums would not add up or pages would be torn."""
    path = tmp_path / "d.spool"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "at work\n"
        created = []
        for _ in range(4):
            with SpoolReader(path) as reader:
                assert reader._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                (boot,) = reader.look().boots
            assert boot.created == boot.acked + boot.pending + sum(boot.dropped.values())
            created.append(boot.created)
        assert child.poll() is None
        assert created == sorted(created)
        assert created[-1] > created[0]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def look_while(monkeypatch: pytest.MonkeyPatch, spool: Spool, moment: int, happens: Callable[[], None]) -> BootView:
    """What a reader sees when something ``happens`` once it has copied so many files; it copies anew then."""
    copied: list[Path] = []
    genuine = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        genuine(source, target)
        copied.append(source)
        if len(copied) == moment:
            happens()

    monkeypatch.setattr("tamiyo_runtime.spool_view.shutil.copyfile", copy)
    with SpoolReader(spool.path) as reader:
        (boot,) = reader.look().boots
    assert len(copied) > 2
    return boot


def fill(spool: Spool, count: int) -> None:
    for number in range(count):
        spool.append(decision(number))
    spool.commit()


@pytest.mark.parametrize("moment", [1, 2])
def test_a_checkpoint_during_the_copy_makes_it_be_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Log and database of before and after one are not of one moment: records would come twice or not at all."""
    with Spool(tmp_path / "d.spool", clock=VirtualClock(), group_records=5) as spool:
        fill(spool, 1000)

        def happens() -> None:
            spool.acked(Ack(spool.boot, ((0, 899),)))
            fill(spool, 3000)

        boot = look_while(monkeypatch, spool, moment, happens)
    assert (boot.created, boot.acked, boot.pending) == (4000, 900, 3100)


def test_a_checkpoint_behind_which_the_log_has_not_begun_anew_is_noticed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header of the log is as before, and the database newer than a log that was copied before it."""
    with Spool(tmp_path / "d.spool", clock=VirtualClock(), group_records=5) as spool:
        fill(spool, 1000)

        def happens() -> None:
            spool.acked(Ack(spool.boot, ((0, 99),)))
            spool._rows.db.execute("PRAGMA wal_checkpoint(PASSIVE)")

        boot = look_while(monkeypatch, spool, 1, happens)
    assert (boot.created, boot.acked, boot.pending) == (1000, 100, 900)


def test_flash_is_counted_by_the_kernel_and_shown_per_day(tmp_path: Path) -> None:
    meter, clock = FlashMeter(), VirtualClock()
    before = meter.read()
    (tmp_path / "probe").write_bytes(bytes(1 << 20))
    if meter.read() - before < 1 << 20:
        pytest.skip("the kernel counts no writes here, as on a file system in memory")
    with Spool(tmp_path / "d.spool", clock=clock, group_records=20) as spool:
        start = spool.flash_bytes
        for number in range(400):
            spool.append(decision(number))
            clock.advance(0.5)
        assert spool.flash_bytes - start > spool.pending_bytes
        total = meter.read() - before - (1 << 20)
        assert start < spool.flash_bytes <= total
        with SpoolReader(spool.path) as reader:
            (boot,) = reader.look().boots
        assert 0.8 * spool.flash_bytes < boot.written_bytes <= spool.flash_bytes  # the last commit is in the next
        assert boot.flash_bytes_per_day == pytest.approx(boot.written_bytes / boot.seconds * 86400)
    meter.close()


def test_the_file_of_an_earlier_version_is_read_and_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "d.spool"
    with Spool(path, clock=VirtualClock()) as spool:
        spool.append(decision(1))
        first = spool.boot
    db = sqlite3.connect(path)
    for column in ("written", "since_ms", "until_ms"):
        db.execute(f"ALTER TABLE boots DROP COLUMN {column}")
    db.commit()
    db.close()
    with SpoolReader(path) as reader:
        (boot,) = reader.look().boots
    assert (boot.pending, boot.flash_bytes_per_day) == (1, None)
    with Spool(path, clock=VirtualClock()) as spool:
        spool.append(decision(2))
        spool.commit()
        assert spool.accounts().pending == 2
        with SpoolReader(path) as reader:
            assert [view.boot for view in reader.look().boots] == [boot_name(first), boot_name(spool.boot)]


def test_what_is_no_spool_is_said_in_a_line(tmp_path: Path, tamiyo: Tamiyo) -> None:  # noqa: F811
    assert "no spool at" in tamiyo("spool", "inspect", tmp_path / "none").err
    (tmp_path / "text").write_text("hello, this is no database at all" * 100)
    outcome = tamiyo("spool", "dump", tmp_path / "text")
    assert (outcome.code, "is damaged" in outcome.err) == (6, True)
    db = sqlite3.connect(tmp_path / "other.db")
    db.execute("CREATE TABLE t (x)")
    db.close()
    outcome = tamiyo("spool", "inspect", tmp_path / "other.db")
    assert (outcome.code, "database of something else" in outcome.err) == (2, True)
    with Spool(tmp_path / "d.spool") as spool:
        spool.append(decision(1))
    outcome = tamiyo("spool", "dump", tmp_path / "d.spool", "--boot", "9.9")
    assert (outcome.code, "no boot 9.9" in outcome.err) == (2, True)
