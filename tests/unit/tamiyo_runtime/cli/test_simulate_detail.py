"""A sample of a fleet by the real runtime: said, written down, the same whatever the workers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.cli import simulate_files
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.signing import SigningKey
from tests import tiny

FLEET = """\
name = "valley"
days = 0.05
sample = 2
[[devices]]
name = "soil"
count = 40
link = "lora-eu868"
placement = { radius_m = 2000 }
workload = { report_period_s = 300, payload_bytes = 40 }
[[devices]]
name = "bare"
count = 3
link = "lora-eu868"
placement = { radius_m = 2000 }
workload = { report_period_s = 900 }
[[devices]]
name = "eyes"
count = 3
link = "lora-eu868"
placement = { radius_m = 2000 }
network = "tiny.tamiyo"
workload = { report_period_s = 300, inference_period_s = 20 }
budget = { latency_ms = 4, power_mw = 0.02, energy_burst_uj = 2000 }
[[devices]]
name = "gate"
count = 2
link = "lte-m"
workload = { report_period_s = 900 }
"""


@pytest.fixture
def valley(tmp_path: Path, tamiyo_home: Path) -> Path:
    made = tiny.make()
    manifest = replace(made.manifest, profile=replace(made.manifest.profile, id="cortex-m4"))
    write_bundle(tmp_path / "tiny.tamiyo", manifest, made.files, SigningKey.default(), overwrite=False)
    path = tmp_path / "valley.toml"
    path.write_text(FLEET)
    return path


def test_detailed_devices_are_told_beside_the_vector_engine(valley: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(valley)]) == 0
    out, err = capsys.readouterr()
    words = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("soil 2 frames") and line.endswith(" 1") for line in words)
    assert any(line.startswith("eyes 2 inferences") for line in words)
    assert any(line.startswith("inferences eyes:") for line in words)
    assert any(line.startswith("energy eyes: at most") for line in words)
    assert any(line.startswith("records bare: none, the payload is too small") for line in words)
    assert any(line.startswith("left out gate:") for line in words)
    assert any(line.startswith("settled rounds by region: EU868") or "rounds by region" in line for line in words)
    assert words[-1].startswith("Next:")
    assert "run in detail" in err


def test_the_option_goes_before_the_file_and_0_runs_nothing_in_detail(
    valley: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(valley), "--json", "--sample", "0"]) == 0
    assert "detail" not in json.loads(capsys.readouterr().out)
    assert main(["simulate", "--link", "lora-eu868", "--fleet", "9", "--days", "0.2", "--sample", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scenario"]["sample"] == 4
    assert len(told["detail"]["devices"]["device"]) == 4
    assert main(["simulate", str(valley), "--dry-run"]) == 0
    assert "2 of each group by the real runtime" in capsys.readouterr().out
    plans = []
    for workers in ("1", "2"):
        assert main(["simulate", str(valley), "--dry-run", "--json", "--workers", workers]) == 0
        plans.append(json.loads(capsys.readouterr().out))
    assert plans[1]["detail_s"] == pytest.approx(plans[0]["detail_s"] / 2)
    assert plans[1]["detail_s"] > 0


def test_json_is_the_same_whatever_the_workers_and_a_folder_holds_a_row_a_device(
    valley: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for workers in ("1", "2"):
        assert main(["simulate", str(valley), "--json", "--workers", workers]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    detail = told[0]["detail"]
    assert detail["devices"]["deadline_misses"] == [-1, -1, -1, -1, 0, 0]
    assert [sum(counts.values()) for counts in detail["configurations"]][:4] == [0] * 4
    assert set(detail["left_out"]) == {"gate"}
    monkeypatch.setattr(simulate_files, "_arrow", lambda: None)
    out = tmp_path / "out"
    assert main(["simulate", str(valley), "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "sampled.csv").read_text().splitlines()))
    assert [int(row["device"]) for row in rows] == detail["devices"]["device"]
    assert json.loads((out / "result.json").read_text())["detail"] == detail
    (out / "result.json").unlink()
    (out / "devices.csv").unlink()
    assert main(["simulate", str(valley), "--out", str(out)]) == 2
    assert "sampled.csv exists already" in capsys.readouterr().err
