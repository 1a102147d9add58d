"""A run that is killed and taken up again ends exactly as one that never stopped, and leaves nobody behind."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Tamiyo

ROOT = Path(__file__).parents[2]
SHORT = ("--task", "spirals", "--growth", "random", "--steps", 96, "--smoke", "--seed", 11)
TIMEOUT_S = 60.0


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "train", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def done(process: subprocess.Popen[str]) -> str:
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    return err


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


def versions_of(path: Path) -> Iterator[int]:
    """A number that changes whenever the file is put in place anew; -1 while it is not there."""
    while True:
        try:
            yield path.stat().st_mtime_ns
        except FileNotFoundError:
            yield -1


def stop_after(process: subprocess.Popen[str], folder: Path, states: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Stop a run as soon as that many states of the growth were kept."""
    numbers = versions_of(folder / ".work" / "growth-state.safetensors")
    seen = {next(numbers)}

    def enough() -> bool:
        seen.add(next(numbers))
        assert process.poll() is None, "the run was over before it could be killed"
        return len(seen) > states

    wait_until(enough, "no state was kept")
    process.send_signal(how)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == (143 if how is signal.SIGTERM else -how)


def fingerprint(folder: Path) -> dict[str, str]:
    """Hashes of everything a run is: its tensors, its audit log, its whole record."""
    document = json.loads((folder / "run.json").read_text())
    tensors = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}
    return {**tensors, "audit": document["record"]["audit"][-1]["sha256"], "record": document["sha256"]}


@pytest.fixture(scope="module")
def uninterrupted(here: Tamiyo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("straight") / "run"
    ended = here("train", folder, *SHORT, "--workers", 1)
    assert ended.returncode == 0, ended.stderr
    return fingerprint(folder)


@pytest.mark.slow
def test_a_run_stopped_twice_ends_as_one_that_never_stopped(uninterrupted: dict[str, str], tmp_path: Path) -> None:
    folder, moments = tmp_path / "run", random.Random(2)
    stop_after(start(folder, *SHORT, "--workers", 1), folder, moments.randint(1, 2))
    stop_after(start(folder, "--resume", "--workers", 1), folder, moments.randint(1, 2), signal.SIGTERM)
    done(start(folder, "--resume", "--workers", 2))
    assert fingerprint(folder) == uninterrupted
    assert not (folder / ".work").exists()


def processes_of(session: int) -> list[int]:
    """Living processes of a session, zombies not counted."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_a_run_that_is_stopped(
    uninterrupted: dict[str, str], tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(folder, *SHORT, "--steps", 4000, "--workers", 2)
    wait_until((folder / ".work" / "growth-state.safetensors").exists, "growth did not begin")
    assert len(processes_of(process.pid)) >= 3, "no worker was running: the test would show nothing"
    process.send_signal(how)
    out, err = process.communicate(timeout=TIMEOUT_S)
    wait_until(lambda: not processes_of(process.pid), "a worker is left behind")
    assert process.returncode == (130 if how is signal.SIGINT else -how), err
    assert out == ""
    if how is not signal.SIGKILL:
        assert f"tamiyo train {folder} --resume" in err
        assert "Traceback" not in err
