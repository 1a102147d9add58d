"""A process that is killed at any moment, again and again: the device comes back and ends its update."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamiyo_runtime.update.disk import BusyError, LocalDisk
from tamiyo_runtime.update.record import Record
from tamiyo_runtime.update.store import RECORD, Store
from tests.updates import Story, opened, release

ROOT = Path(__file__).parents[4]
KILLS = 36

# Slow enough to be hit in between: each operation waits a little, as a memory card does.
DEVICE = """
import sys, time
from pathlib import Path
from tamiyo_runtime.update.disk import LocalDisk
from tests.updates import Story

class Slow(LocalDisk):
    def write_at(self, *arguments):
        time.sleep(0.002)
        super().write_at(*arguments)

    def sync(self, *arguments):
        time.sleep(0.004)
        super().sync(*arguments)

releases = Path(sys.argv[2])
story = Story(tuple(releases / f"tiny-{version}.tamiyo" for version in (1, 2, 3)))
print("ready", flush=True)
story.go_on(Slow(Path(sys.argv[1])))
print("end", flush=True)
"""


def start(state: Path, releases: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", DEVICE, str(state), str(releases)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.long
def test_a_device_whose_process_is_killed_again_and_again_always_runs_a_verified_bundle(tmp_path: Path) -> None:
    draw = random.Random(11)
    for version in (1, 2, 3):
        release(tmp_path, version)
    kills, lives = 0, 0
    while kills < KILLS:
        state = tmp_path / f"state-{lives}"
        state.mkdir()
        lives += 1
        before: Record | None = None
        while True:
            process = start(state, tmp_path)
            try:
                process.wait(draw.uniform(0.0, 0.25))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            output = process.communicate()[0]
            if process.returncode == 0:
                assert output == "end\n"
                break
            assert process.returncode == -9
            disk = LocalDisk(state)
            if disk.size(RECORD) is None:
                assert before is None
                continue
            record = Store.open(disk).record
            if record.running is not None:
                version = record.slots[record.running].version
                assert opened(disk, f"{record.running}/bundle.tamiyo").version == version
            if before is not None:
                assert set(before.rejected) <= set(record.rejected)
                assert (before.running is None) or (record.running is not None)
            before = record
        Story((tmp_path, tmp_path, tmp_path)).check_end(Store.open(LocalDisk(state)).record)
    assert lives > 1


@pytest.mark.parametrize("lock", ["locked", "occupied"])
def test_a_lock_goes_with_the_process_that_held_it(tmp_path: Path, lock: str) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tamiyo_runtime.update.disk import LocalDisk\n"
        f"with LocalDisk(Path(sys.argv[1])).{lock}(): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    taken = getattr(LocalDisk(tmp_path), lock)
    with pytest.raises(BusyError), taken():
        pass
    process.kill()
    process.communicate()
    deadline_s = time.monotonic() + 5
    with taken():
        assert time.monotonic() < deadline_s
