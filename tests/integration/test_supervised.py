"""``tamiyo run --supervise`` with a real child that is killed by a fault, alone and from an update folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tamiyo_runtime.audit import read_log
from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.signing import SigningKey
from tests import tiny

ENDLESS = ("--source", "generator?count=0", "--period-ms", "5")
MOST_RESIDENT_MIB = 30


def release(folder: Path, version: int) -> Path:
    made, path = tiny.make(variants=("float",), policy=False), folder / f"tiny-{version}.tamiyo"
    write_bundle(path, replace(made.manifest, version=version), made.files, SigningKey.default(), overwrite=True)
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "run", *map(str, arguments), "--supervise"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def eventually(what: Callable[[], object], limit_s: float = 60.0) -> object:
    until = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def kinds(state: Path) -> list[str]:
    """What the audit log tells, but for modes: a busy machine misses deadlines."""
    records = read_log(state) if (state / "audit" / "000000000000.jsonl").is_file() else ()
    return [record.kind for record in records if record.kind != "mode"]


def _started(state: Path, times: int) -> bool:
    return kinds(state).count("start") == times


def child_of(process: subprocess.Popen[str]) -> int | None:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(text[0]) if text else None


def _catches(pid: int | None, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_a_run_that_segfaults_starts_again_and_its_log_tells_of_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start(release(tmp_path, 1), *ENDLESS, "--state-dir", state) as process:
        eventually(lambda: kinds(state) == ["start"])
        first = child_of(process)
        assert first is not None
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        assert resident_kib < MOST_RESIDENT_MIB << 10
        os.kill(first, signal.SIGSEGV)
        eventually(lambda: kinds(state) == ["start", "crash", "start"])
        second = child_of(process)
        assert second not in {None, first}
        eventually(lambda: _catches(second, signal.SIGTERM))  # before that it ends, but not in good order
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "crashed by signal SIGSEGV" in err
    assert "stopped          by a signal, in good order" in out
    assert kinds(state) == ["start", "crash", "start", "stop"]
    assert [record.data["how"] for record in read_log(state) if record.kind == "crash"] == ["signal SIGSEGV"]


@pytest.mark.long
def test_three_crashes_on_a_trial_go_back_to_what_ran_before(tmp_path: Path) -> None:
    device, key = tmp_path / "device", tmp_path / "dev.pub"
    first, second = release(tmp_path, 1), release(tmp_path, 2)
    key.write_bytes(SigningKey.default().public.to_pem())
    assert main(["update", "init", str(device), "--device", "d", "--key", str(key)]) == 0
    assert main(["update", "apply", str(device), str(first)]) == 0
    assert main(["update", "apply", str(device), str(second)]) == 0
    with start(device, *ENDLESS) as process:
        for starts in (1, 2, 3):
            eventually(partial(_started, device, starts))
            child = child_of(process)
            assert child is not None
            os.kill(child, signal.SIGSEGV)
        eventually(lambda: kinds(device).count("start") == 4)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "went back to the other slot" in err
    records = read_log(device)
    assert [record.data["version"] for record in records if record.kind == "start"] == [2, 2, 2, 1]
    assert [record.kind for record in records].count("rollback") == 1
    assert main(["audit", "verify", str(device)]) == 0


def test_a_mistake_is_not_tried_again(tmp_path: Path) -> None:
    with start(tmp_path / "none.tamiyo", "--state-dir", tmp_path / "state") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.count("bundle not found") == 1
    assert not (tmp_path / "state").exists()
