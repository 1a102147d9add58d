"""A broker that does not answer: told at the start, waited for briefly at the end, and nothing is lost by it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli import delivering, field
from tamiyo_runtime.cli.delivering import deliver, look_for_broker
from tamiyo_runtime.cli.field import FieldRun
from tamiyo_runtime.cli.field_terms import FieldRequest
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Ack, Event, EventRecord
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import Clock, MonotonicClock
from tamiyo_runtime.session import Plan
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.transport.broker import start_broker
from tamiyo_runtime.transport.memory import Bus


def telemetry_to(bus: str, folder: Path, clock: Clock) -> Telemetry:
    return open_telemetry(
        spool=folder / "d.spool",
        url=f"memory://{bus}",
        fleet="f",
        device="d",
        bundle="0" * 8,
        link=Ethernet(),
        clock=clock,
    )


def test_a_broker_that_does_not_answer_is_told_once_and_waited_for_briefly(
    tamiyo: Any, own_bundle: Path, tmp_path: Path
) -> None:
    begun_s = time.monotonic()
    outcome = tamiyo(
        *("run", own_bundle, "--device", "simulated", "--broker", "mqtt://127.0.0.1:9"),
        *("--state-dir", tmp_path, "--samples", 30, "--json", "--fault", "brown-out@1s+1s?boot_s=0.2"),
    )
    assert time.monotonic() - begun_s < 15.0  # it used to try for half a minute
    assert outcome.code == 0
    assert outcome.err.count("warning: the broker mqtt://127.0.0.1:9 does not answer") == 1
    assert "Connection refused" in outcome.err
    assert outcome.err.count("trying for up to 3 s; Ctrl-C leaves them in the spool") == 1
    telemetry = json.loads(outcome.out)["telemetry"]
    assert not telemetry["delivered"]
    assert telemetry["pending"] == telemetry["records_created"] > 0
    assert (tmp_path / "device-1.spool").exists()


@pytest.mark.broker
def test_with_a_broker_and_no_collector_the_result_asks_for_one(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "FLUSH_S", 1.0)
    with start_broker("auto", tmp_path / "broker") as handle:
        options = ("--samples", 5, "--period-ms", 0, "--latency-ms", 0, "--state-dir", tmp_path)
        outcome = tamiyo("run", own_bundle, "--broker", handle.url, *options)
    assert outcome.code == 0
    assert "acknowledged: does a collector run?" in outcome.out


def test_one_signal_ends_the_samples_and_another_the_sending_both_in_good_order(
    own_bundle: Path, tmp_path: Path
) -> None:
    with socket.socket() as deaf:  # takes connections and never says a word
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        broker = f"mqtt://127.0.0.1:{deaf.getsockname()[1]}"
        command = [
            *(sys.executable, "-u", "-m", "tamiyo_runtime.cli.main", "run", str(own_bundle), "--samples", "100000"),
            *("--broker", broker, "--json"),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        assert "does not answer" in process.stderr.readline()
        time.sleep(0.5)  # for some samples; how many does not matter
        process.send_signal(signal.SIGINT)
        assert "wait for a broker that does not answer" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    data = json.loads(out)
    assert data["stopped_early"]
    assert data["telemetry"]["pending"] == data["telemetry"]["records_created"] > 0


def test_a_broker_that_answers_late_is_no_reason_to_warn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bus = Bus.named("late")
    bus.up = False
    telemetry = telemetry_to("late", tmp_path, MonotonicClock())
    timer = threading.Timer(0.1, setattr, (bus, "up", True))
    timer.start()
    look_for_broker(telemetry, "memory://late", tmp_path / "d.spool", patience_s=20.0)
    timer.join()
    telemetry.close()
    assert capsys.readouterr().err == ""


def test_a_service_does_not_wait_to_find_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Bus.named("away").up = False
    telemetry = telemetry_to("away", tmp_path, MonotonicClock())
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    begun_s = time.monotonic()
    look_for_broker(telemetry, "memory://away", tmp_path / "d.spool", patience_s=60.0)
    assert time.monotonic() - begun_s < 30.0
    telemetry.close()
    assert capsys.readouterr().err == ""


def test_with_a_broker_and_no_collector_the_end_says_whom_the_records_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "FLUSH_S", 0.5)
    monkeypatch.setattr(delivering, "_SILENT_S", 0.1)
    clock = MonotonicClock()
    telemetry = telemetry_to("nobody", tmp_path, clock)
    telemetry.event(EventRecord(t_ms=1, event=Event.START))
    told: list[str] = []
    assert not deliver(telemetry, clock, told.append)
    telemetry.close()
    (line,) = told
    assert line.startswith("1 record waits for the collector: trying for up to 0.5 s")


def test_what_earlier_starts_have_left_waits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "FLUSH_S", 0.5)
    monkeypatch.setattr(delivering, "_SILENT_S", 0.1)
    earlier = telemetry_to("nobody", tmp_path, MonotonicClock())
    for t_ms in (1, 2):
        earlier.event(EventRecord(t_ms=t_ms, event=Event.START))
    earlier.close()
    clock = MonotonicClock()
    telemetry = telemetry_to("nobody", tmp_path, clock)
    told: list[str] = []
    assert not deliver(telemetry, clock, told.append)
    assert telemetry.waiting == 2
    assert telemetry.counters().pending == 0
    telemetry.close()
    assert told[0].startswith("2 records wait for the collector: ")


def test_between_samples_and_sending_there_is_no_moment_in_which_a_signal_would_kill(
    own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard: list[int] = []

    def signalled(*asked: Any) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return deliver(*asked)

    monkeypatch.setattr(field, "deliver", signalled)
    before = signal.signal(signal.SIGTERM, lambda number, _frame: unheard.append(number))
    try:
        request = FieldRequest(device="simulated", broker="memory://between", state_dir=tmp_path, plan=Plan(samples=2))
        with FieldRun(Bundle.open(own_bundle), request) as run:
            assert run.run(tell=lambda _: None).waiting > 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert unheard == []


def test_a_broker_that_comes_back_in_time_gets_what_waits_for_it(tmp_path: Path) -> None:
    bus = Bus.named("back")
    bus.up = False

    def collect(topic: str, payload: bytes) -> None:
        if topic.endswith(("/t", "/e")):
            batch = wire.decode(payload, device="d")
            ack = Ack(batch.boot, tuple((numbered.seq, numbered.seq) for numbered in batch.records))
            bus.send("tamiyo/v1/f/d/ack", wire.encode_ack(ack, device="d"))

    bus.handlers.append(collect)
    telemetry = telemetry_to("back", tmp_path, MonotonicClock())
    telemetry.event(EventRecord(t_ms=1, event=Event.START))
    timer = threading.Timer(0.2, setattr, (bus, "up", True))
    timer.start()
    told: list[str] = []
    assert deliver(telemetry, MonotonicClock(), told.append)
    timer.join()
    telemetry.close()
    assert told == []
