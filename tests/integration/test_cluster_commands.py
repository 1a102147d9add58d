"""Commands with ``--workers ray``: stopped and taken up elsewhere, from outside the cluster, and out of memory."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.contracts.errors import ExitCode
from tests.clusters import cluster_of, ray_or_skip
from tests.integration.conftest import Tamiyo
from tests.integration.test_resume import done, fingerprint, processes_of, start, wait_until

ray_or_skip()
pytestmark = pytest.mark.long
SHORT = ("--task", "spirals", "--steps", 96, "--smoke", "--seed", 11)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    done(start(folder, *SHORT, "--workers", 1))
    return fingerprint(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(1, 1) as made:
        yield made


def jobs_running() -> list[int]:
    """Workers of any cluster here that are at a job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::do"):
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_stopped_on_a_cluster_leaves_nobody_at_work_and_ends_the_same_on_two_processes(
    cluster: Any, straight: dict[str, str], tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(folder, *SHORT, "--workers", "ray")
    wait_until(lambda: len(jobs_running()) == 2, "no job began")
    process.send_signal(how)
    _, err = process.communicate(timeout=60.0)
    assert process.returncode == (130 if how is signal.SIGINT else -how), err
    wait_until(lambda: not jobs_running() and not processes_of(process.pid), "somebody is still at work")
    if how is signal.SIGINT:
        assert f"tamiyo train {folder} --resume" in err
        assert "Traceback" not in err
    done(start(folder, "--resume", "--workers", 2))
    assert fingerprint(folder) == straight


def test_a_machine_outside_the_cluster_gets_the_same_run(straight: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with cluster_of(2, head={"ray_client_server_port": port}):
        done(start(tmp_path / "run", *SHORT, "--workers", f"ray://127.0.0.1:{port}"))
    assert fingerprint(tmp_path / "run") == straight


def test_a_job_that_runs_out_of_memory_ends_the_command_with_the_reason(tamiyo: Tamiyo, tmp_path: Path) -> None:
    """Ray's own watch over memory kills the job: it is told that what is in use already is too much."""
    with cluster_of(2, RAY_memory_usage_threshold="0.001"):
        ended = tamiyo("train", tmp_path / "run", *SHORT, "--workers", "ray")
    assert ended.returncode == ExitCode.INTERNAL
    assert "memory ran out on its machine" in ended.stderr
    assert "--resume" in ended.stderr
    assert "Traceback" not in ended.stderr
