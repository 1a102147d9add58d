"""Cut the power under a spool: every record it said was durable is there afterwards, unchanged.

The spool lies on an ext4 in a file, mounted so that nothing reaches the file but what a sync pushes there. A child
appends and keeps a diary outside of it; at a random moment it is stopped, and a copy of the file is taken: that is the
disk after a power cut. Mounting the copy replays the journal. What this does not show: disks that lie about a sync, and
sectors that are torn within. Needs root for mounting.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.records import Priority, Tombstone
from tamiyo_runtime.spool import Spool
from tests.faults.diary import Recorded, digest, parse
from tests.faults.mounts import copy_as_cut, image, make_image
from tests.faults.site import ROOT, eventually

pytestmark = pytest.mark.slow

IMAGE_MIB = 48
CUTS_A_LIFE = 5  # then the disk that was found after a cut is the one that the next process works on


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def lost_of(recorded: Recorded, spool: Spool) -> set[tuple[int, int]]:
    """Places of records that were durable, and are neither here nor acked nor accounted for."""
    found = {}
    for priority in Priority:
        for spooled in spool.pending(priority, limit=10**6):
            found[spooled.key.boot, spooled.key.seq] = spooled.record
    buried: set[tuple[int, int]] = set()
    for place, record in found.items():
        if isinstance(record, Tombstone):
            buried |= {(record.boot, seq) for seq in range(record.first_seq, record.last_seq + 1)}
        else:
            assert recorded.digests[place] == digest(record), place
    accounts = spool.accounts()
    assert accounts.created == accounts.acked + accounts.pending + sum(accounts.dropped.values())
    return recorded.owed() - set(found) - buried


def cuts(folder: Path, count: int, *, seed: int, synchronous: str = "FULL") -> tuple[int, int]:
    """How many records were durable and owed over all cuts, and how many of them were lost."""
    rng = random.Random(seed)
    disk, diary = folder / "disk.img", folder / "diary.txt"
    make_image(disk, IMAGE_MIB)
    owed = lost = done = 0
    copy, written = disk, ""
    while done < count:
        with image(disk, folder / "live") as live:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.appender", live / "spool.db", diary, "--synchronous", synchronous],
                cwd=ROOT,
            )
            try:
                before = diary.stat().st_size if diary.exists() else 0
                eventually(lambda: diary.exists() and diary.stat().st_size > before, "the child wrote nothing")  # noqa: B023
                for _ in range(min(CUTS_A_LIFE, count - done)):
                    time.sleep(rng.uniform(0.01, 0.15))
                    child.send_signal(signal.SIGSTOP)
                    eventually(lambda: state_of(child.pid) == "T", "the child would not stop")  # noqa: B023
                    last, copy = copy, folder / f"cut-{done}.img"
                    copy_as_cut(disk, copy)
                    written = diary.read_text()
                    recorded = parse(written)
                    child.send_signal(signal.SIGCONT)
                    with image(copy, folder / "found") as found, Spool(found / "spool.db") as spool:
                        owed += len(recorded.owed())
                        lost += len(lost_of(recorded, spool))
                    if last is not disk:
                        last.unlink()
                    done += 1
            finally:
                child.kill()
                child.wait()
        disk.unlink()
        disk = copy
        diary.write_text(written[: written.rfind("\n") + 1])  # what the child did after the last cut never was
    print(f"{count} power cuts, synchronous {synchronous}: {owed} records owed, {lost} lost")
    return owed, lost


def test_a_power_cut_takes_nothing_that_was_durable(tmp_path: Path) -> None:
    owed, lost = cuts(tmp_path, 10, seed=1)
    assert owed > 1000
    assert lost == 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_hundred_power_cuts_take_nothing_that_was_durable(tmp_path: Path) -> None:
    owed, lost = cuts(tmp_path, 100, seed=2)
    assert owed > 10_000
    assert lost == 0


@pytest.mark.long
def test_a_spool_that_does_not_sync_is_robbed_by_the_same_cuts(tmp_path: Path) -> None:
    """The control: without it, the tests above could pass on a machine where nothing is ever lost."""
    _, lost = cuts(tmp_path, 5, seed=3, synchronous="OFF")
    assert lost > 100
