"""The commands `broker` and `collect`: what they print, and with which status they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.arrivals import Delivery
from collector.store import Store
from tamiyo_runtime.cli import collect_cmd
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, LossReason, Numbered, Tombstone
from tamiyo_runtime.contracts.skim import skimmed

COMMAND = "import sys; from tamiyo_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.broker
def test_the_broker_says_where_it_is_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    arguments = ["broker", "--kind", "embedded", "--port", "0", "--folder", str(tmp_path)]
    child = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert "mqtt://127.0.0.1:" in child.stdout.readline()
    assert "no password" in child.stdout.readline()
    assert "tamiyo collect" in child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=10) == 0
    child.stdout.close()


@pytest.mark.broker
def test_the_broker_command_ends_when_its_broker_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["broker", "--kind", "embedded", "--port", "0", "--folder", str(tmp_path)]
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert "mqtt://127.0.0.1:" in child.stdout.readline()
    (broker,) = "".join(file.read_text() for file in Path(f"/proc/{child.pid}/task").glob("*/children")).split()
    os.kill(int(broker), signal.SIGKILL)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 1
    assert errors.startswith("error: the broker has ended")


@pytest.mark.broker
def test_collect_prints_the_ledger_with_losses_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stone = Tombstone(t_ms=0, boot=7 << 16 | 1, first_seq=0, last_seq=4, reason=LossReason.SPOOL_FULL)
    start = EventRecord(t_ms=0, event=Event.START)
    batch = Batch(7 << 16 | 1, "0a0b0c0d", (Numbered(5, stone), Numbered(6, start)), 9)
    with Store(tmp_path / "c.db") as store:
        store.commit([Delivery("board-1", skimmed(batch), 1.0)])
    arguments = ["collect", "--broker", "embedded", "--store", str(tmp_path / "c.db"), "--for", "0.5"]
    assert main(arguments) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("board-1"))
    assert row.split() == ["board-1", "0.00070001", "9", "2", "5", "spool_full", "no,", "2", "missing"]
    assert main([*arguments, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["ledger"]
    assert (entry["sent"], entry["stored"], entry["lost"], entry["missing"]) == (9, 2, {"spool_full": 5}, 2)


def test_a_folder_as_a_store_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "--store", "."]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("broker", "words", "status"),
    [
        ("embeded", "did you mean embedded", 2),
        ("mqtt://", "mqtt://HOST:PORT", 2),
        ("mqtt://127.0.0.1:1", "start one with: tamiyo broker", 2),
    ],
)
def test_a_broker_that_is_not_there_is_one_line_and_a_hint(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    broker: str,
    words: str,
    status: int,
) -> None:
    monkeypatch.setattr(collect_cmd, "_CONNECT_S", 0.5)
    assert main(["collect", "--broker", broker, "--store", str(tmp_path / "c.db")]) == status
    assert words in capsys.readouterr().err
