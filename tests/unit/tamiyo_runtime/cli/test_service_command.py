"""``tamiyo service print``, and ``tamiyo run`` under a manager."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def _start(outcome: Any) -> str:
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("ExecStart=")]
    return str(line)


def test_the_printed_unit_runs_the_given_command_line_with_absolute_paths(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("1,2\n")
    outcome = tamiyo(
        *("service", "print", "--memory-max", "256M", "tiny.tamiyo", "--source", "t.csv?label=none"),
        *("--broker", "mqtt://hub:1883", "--no-policy", "--period-ms", "250", "--budget-at", "5:latency-ms=7"),
    )
    line = _start(outcome)
    assert f" run {own_bundle} --state-dir /var/lib/tamiyo-tiny " in line
    for part in (
        f"--source {tmp_path}/t.csv?label=none",
        "--broker mqtt://hub:1883",
        "--no-policy",
        "--period-ms 250",
        "--budget-at 5:latency-ms=7",
        "trusted/dev.pub",
    ):
        assert part in line
    assert "MemoryMax=256M" in outcome.out
    assert outcome.out.count("[Service]") == 1


def test_a_serial_source_gets_its_device(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("service", "print", "--name", "hall", own_bundle, "--source", "serial:///dev/ttyUSB0?baud=9600")
    assert "--source serial:///dev/ttyUSB0?baud=9600" in _start(outcome)
    assert "DeviceAllow=/dev/ttyUSB0 rw" in outcome.out
    assert "StateDirectory=hall" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--perod-ms", "5"], "--period-ms"),
        (["--period-ms", "x"], "period-ms"),
        (["--dry-run"], "--dry-run is not for a service"),
        (["--trace", "x.csv"], "--trace is not for a service"),
        (["--state-dir", "/x"], "--state-dir is not for a service"),
        (["--mission-hours", "9", "--battery-mwh", "8"], "--mission-hours is not for a service"),
        (["--source", "tpc://x:1"], "did you mean tcp?"),
    ],
)
def test_a_mistake_in_the_command_line_is_told_now_and_not_by_a_service_that_fails(
    tamiyo: Any, own_bundle: Path, arguments: list[str], said: str
) -> None:
    outcome = tamiyo("service", "print", own_bundle, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err


def test_a_bad_name_or_limit_is_a_usage_error(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("service", "print", "--memory-max", "much", own_bundle)
    assert outcome.code == 2
    assert "memory-max" in outcome.err


def test_a_run_under_a_manager_says_ready_is_alive_and_stopping(own_bundle: Path, tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(30.0)
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "run", str(own_bundle), "--source", "generator"]
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        first = manager.recv(4096).decode()
        time.sleep(0.8)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    manager.setblocking(False)
    rest = []
    while True:
        try:
            rest.append(manager.recv(4096).decode())
        except BlockingIOError:
            break
    manager.close()
    assert first.startswith("READY=1\nWATCHDOG=1\nSTATUS=normal")
    assert sum("WATCHDOG=1" in message for message in rest) >= 1
    assert rest[-1].startswith("STOPPING=1")
    assert process.returncode == 0
