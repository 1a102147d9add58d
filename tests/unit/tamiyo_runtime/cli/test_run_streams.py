"""``tamiyo run`` on streams: as a process of its own with a pipe, and what it says of mistakes."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

LINE = ",".join(str(value) for value in range(16)) + "\n"


def _process(bundle: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "run", str(bundle), "--source", "stdin", "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ, text=True)


def test_sigterm_ends_a_run_that_waits_for_a_line_and_good_lines_before_it_count(
    own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(30.0)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    process = _process(own_bundle)
    assert process.stdin is not None
    process.stdin.write(LINE * 5 + "1,2,3\n")
    process.stdin.flush()
    assert manager.recv(4096).startswith(b"READY=1")
    manager.close()
    time.sleep(0.6)  # of silence
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    data = json.loads(out)
    assert (data["samples"], data["stopped_early"], data["lost"]) == (5, True, {"wrong_count": 1})


def _feed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> io.TextIOWrapper:
    path = tmp_path / "input.txt"
    path.write_text(text)
    stream = io.TextIOWrapper(path.open("rb"))
    monkeypatch.setattr(sys, "stdin", stream)
    return stream


def test_lines_from_a_file_run_one_after_the_other_and_losses_are_shown(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _feed(monkeypatch, tmp_path, LINE * 40 + "x\n" + LINE)
    outcome = tamiyo("run", own_bundle, "--source", "-")
    assert outcome.code == 0
    assert "lost on arrival  1: not_numbers 1" in outcome.out
    assert "run tiny  41" in outcome.err


def test_a_stream_that_is_no_such_stream_is_exit_2_with_the_line(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _feed(monkeypatch, tmp_path, "time,value\n1,2\n")
    outcome = tamiyo("run", own_bundle, "--source", "stdin")
    assert outcome.code == 2
    assert "none of the first 2 lines is a sample" in outcome.err
    assert "'time,value'" in outcome.err
    assert "hint: a line is one sample" in outcome.err


def test_a_dry_run_says_what_a_stream_is_without_touching_it(tamiyo: Any, own_bundle: Path) -> None:
    plan = json.loads(tamiyo("run", own_bundle, "--source", "tcp://127.0.0.1:1", "--dry-run", "--json").out)
    assert (plan["source"], plan["samples"], plan["period_ms"]) == ("tcp://127.0.0.1:1", None, 0.0)
    plan = json.loads(tamiyo("run", own_bundle, "--source", "generator", "--dry-run", "--json").out)
    assert (plan["samples"], plan["period_ms"]) == (None, 100.0)


def test_a_misspelt_scheme_is_answered_with_near_ones(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("run", own_bundle, "--source", "mqqt://host/topic")
    assert (outcome.code, "did you mean mqtt?" in outcome.err) == (2, True)


def test_a_generator_runs_for_as_long_as_it_is_told(tamiyo: Any, own_bundle: Path) -> None:
    arguments = ("run", own_bundle, "--device", "simulated", "--source", "generator?seed=1&noise=.02", "--samples", 30)
    data = json.loads(tamiyo(*arguments, "--json").out)
    assert data["samples"] == 30
    assert data["accuracy"] > 0.5
