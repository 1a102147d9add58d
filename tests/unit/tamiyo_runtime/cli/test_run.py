"""``tamiyo run`` on the tiny bundle: simulated and real boards, dry runs, traces, telemetry, mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_a_simulated_run_reports_what_ran_why_and_what_the_figures_are(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo(
        *("run", own_bundle, "--device", "simulated:test-board", "--samples", 100),
        *("--throttle", "3:2.5,6:1", "--budget-at", "8:latency-ms=3.2"),
    )
    assert outcome.code == 0
    for text in ("c11", "c00", "100.0 % of 100", "(simulated)", "0 missed", "telemetry        none"):
        assert text in outcome.out
    assert "run tiny  100/100" in outcome.err


def test_json_holds_the_whole_result_and_nothing_else(tamiyo: Any, own_bundle: Path) -> None:
    data = json.loads(tamiyo("run", own_bundle, "--device", "simulated", "--no-policy", "--json").out)
    assert data["counts"] == {"c11": 12}
    assert data["accuracy"] == 1.0
    assert data["latency_source"] == "simulated"
    assert data["policy"] is None


def test_on_this_machine_latency_is_measured(tamiyo: Any, own_bundle: Path) -> None:
    data = json.loads(tamiyo("run", own_bundle, "--period-ms", 0, "--samples", 50, "--json").out)
    assert data["latency_source"] == "measured"
    assert data["energy_source"] == "analytic"


def test_a_dry_run_checks_everything_and_runs_nothing(tamiyo: Any, own_bundle: Path, tmp_path: Path) -> None:
    outcome = tamiyo("run", own_bundle, "--broker", "embedded", "--state-dir", tmp_path / "state", "--dry-run")
    assert outcome.code == 0
    assert "nothing was run" in outcome.out
    assert not (tmp_path / "state").exists()
    plan = json.loads(tamiyo("run", own_bundle, "--dry-run", "--json", "--latency-ms", 7).out)
    assert plan["budget"]["latency_ms"] == 7.0
    assert plan["samples"] == 12


def test_a_trace_has_one_row_a_sample_and_is_not_overwritten(tamiyo: Any, own_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    arguments = ("run", own_bundle, "--device", "simulated", "--samples", 20, "--trace", path)
    assert tamiyo(*arguments).code == 0
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 20
    assert rows[0]["option"] == "c11"
    assert float(rows[3]["t_s"]) == pytest.approx(0.3)
    again = tamiyo(*arguments)
    assert (again.code, "--overwrite" in again.err) == (2, True)
    assert tamiyo(*arguments, "--overwrite").code == 0
    assert tamiyo("run", own_bundle, "--device", "simulated", "--trace", tmp_path / "run.npz").code == 0
    with np.load(tmp_path / "run.npz") as arrays:
        assert len(arrays["latency_ms"]) == 12
    assert tamiyo("run", own_bundle, "--trace", tmp_path / "run.txt").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--device", "simulted"], 2, "did you mean simulated"),
        (["--device", "simulated:coral-usb"], 4, "was compiled for 'test-board'"),
        (["--device", "host", "--throttle", "1:2"], 2, "real board"),
        (["--link", "lora-eu869"], 2, "lora-eu868"),
        (["--link", "lora-eu868+contact?period_s=5&length_s=9"], 2, "a contact of 9 s every 5 s cannot be"),
        (["--link", "lora-eu868+contact?perod_s=5"], 2, "did you mean period_s"),
        (["--link", "nb-iot?distance_m=-1"], 2, "distance -1 m is not in 10..5000 m"),
        (["--link", "5g-mmwave?distance_m=4000"], 2, "no coverage 4000 m away"),
        (["--broker", "embeded"], 2, "did you mean embedded"),
        (["--spool-mb", "inf"], 2, "--spool-mb: inf is not"),
        (["--period-ms", "inf"], 2, "--period-ms: inf is not"),
        (["--variant", "int9"], 2, "did you mean int8"),
        (["--source", "/nowhere"], 2, "no such file or folder"),
        (["--latency-ms", "1"], 3, "costliest parts: trunk0"),
        (["--throttle", "x"], 2, "--throttle"),
        (["--key", "/nowhere.pub"], 2, "public key not found"),
        (["--broker", "mqtt://127.0.0.1:1", "--device-id", "a/b"], 2, "cannot name a device"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    outcome = tamiyo("run", own_bundle, "--state-dir", tmp_path / "state", *arguments)
    assert outcome.code == code
    assert said in outcome.err
    assert outcome.out == ""


def test_a_budget_in_which_nothing_could_run_is_exit_3(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("run", own_bundle, "--device", "simulated", "--throttle", "0:9")
    assert outcome.code == 3
    assert "none of 12 samples" in outcome.err
    assert "skipped (skip_latency)" in outcome.out


@pytest.mark.broker
def test_over_lora_to_an_embedded_broker_every_record_arrives_within_the_duty_cycle(
    tamiyo: Any, own_bundle: Path, tmp_path: Path
) -> None:
    outcome = tamiyo(
        *("run", own_bundle, "--device", "simulated", "--link", "lora-eu868", "--broker", "embedded"),
        *("--state-dir", tmp_path, "--samples", 600, "--period-ms", 1000, "--throttle", "100:2.5,300:1", "--json"),
    )
    assert outcome.code == 0
    data = json.loads(outcome.out)
    telemetry = data["telemetry"]
    assert telemetry["delivered"]
    assert telemetry["records_created"] == telemetry["stored_acked"] > 10
    assert 0 < telemetry["airtime_worst_hour_s"] <= 36.0
    (entry,) = data["ledger"]
    assert entry["balanced"]
    assert entry["sent"] == entry["stored"] == telemetry["records_created"]


@pytest.mark.broker
def test_single_samples_that_lora_cannot_carry_arrive_in_a_contact(
    tamiyo: Any, own_bundle: Path, tmp_path: Path
) -> None:
    outcome = tamiyo(
        *("run", own_bundle, "--device", "simulated", "--broker", "embedded", "--state-dir", tmp_path, "--json"),
        *("--link", "lora-eu868+contact?period_s=200&length_s=20", "--samples", 300, "--period-ms", 1000),
    )
    assert outcome.code == 0
    data = json.loads(outcome.out)
    assert "simulated" in data["link"]
    telemetry = data["telemetry"]
    assert telemetry["delivered"]
    assert telemetry["records_created"] == telemetry["stored_acked"] > 300  # the samples, and the rest
    assert 0 < telemetry["airtime_worst_hour_s"] <= 36.0
    (entry,) = data["ledger"]
    assert entry["balanced"]


@pytest.mark.broker
@pytest.mark.parametrize("link", ["5g", "nb-iot?distance_m=4000"])
def test_over_a_cellular_link_every_record_arrives_and_the_radio_is_charged(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, link: str
) -> None:
    outcome = tamiyo(
        *("run", own_bundle, "--device", "simulated", "--broker", "embedded", "--state-dir", tmp_path, "--json"),
        *("--link", link, "--samples", 200, "--period-ms", 1000),
    )
    assert outcome.code == 0
    data = json.loads(outcome.out)
    assert "simulated" in data["link"]
    telemetry = data["telemetry"]
    assert telemetry["delivered"]
    assert telemetry["records_created"] == telemetry["stored_acked"]
    assert (telemetry["records_created"] > 200) == (link == "5g")  # single samples go where there is room for them
    assert telemetry["radio_energy_uj"] > 0
    (entry,) = data["ledger"]
    assert entry["balanced"]


def test_a_signal_ends_the_run_in_good_order(own_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "run", str(own_bundle), "--samples", "100000", "--json"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:  # told when the run has begun
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60.0)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
        assert manager.recv(4096).startswith(b"READY=1")
        time.sleep(0.5)  # for some samples; how many does not matter
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    data = json.loads(out)
    assert data["stopped_early"]
    assert 0 < data["samples"] < 100000
