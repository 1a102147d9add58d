"""From training to the collector's ledger with the commands of the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import TARGETS, Tamiyo

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]


@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_verifies_and_inspects(here: Tamiyo, bundles: dict[str, Path], target: str) -> None:
    assert here("verify", bundles[target]).returncode == 0
    shown = here("inspect", bundles[target], "--json")
    assert shown.returncode == 0, shown.stderr
    assert target in shown.stdout


@pytest.mark.broker
@pytest.mark.parametrize(("target", "profile"), [("edge-tpu", "coral-usb"), ("raspberry-pi-4", "raspberry-pi-4")])
def test_a_simulated_board_runs_over_lora_and_every_record_is_accounted_for(
    tamiyo: Tamiyo, bundles: dict[str, Path], tmp_path: Path, target: str, profile: str
) -> None:
    result = tamiyo(
        *("run", bundles[target], "--device", f"simulated:{profile}", "--link", "lora-eu868", "--broker", "embedded"),
        *("--samples", 300, "--period-ms", 2000, "--state-dir", tmp_path, "--json"),
    )
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["samples"] == 300
    assert data["latency_source"] == data["energy_source"] == "simulated"
    assert data["deadline_misses"] == 0
    assert data["policy_failures"] == 0
    assert data["telemetry"]["airtime_worst_hour_s"] <= 36.0
    assert data["telemetry"]["delivered"]
    assert data["ledger"]
    for entry in data["ledger"]:
        assert entry["balanced"]
        assert entry["sent"] == entry["stored"] + sum(entry["lost"].values()) > 0


@pytest.mark.broker
def test_the_same_simulation_twice_gives_the_same_figures(
    tamiyo: Tamiyo, bundles: dict[str, Path], tmp_path: Path
) -> None:
    def figures(folder: str) -> dict[str, object]:
        result = tamiyo(
            *(
                "run",
                bundles["raspberry-pi-4"],
                "--device",
                "simulated",
                "--broker",
                "embedded",
            ),
            *("--samples", 200, "--period-ms", 2000, "--state-dir", tmp_path / folder, "--json"),
        )
        data = json.loads(result.stdout)
        names = ("accuracy", "energy_uj", "latency_p99_ms", "counts", "skips", "decisions")
        # What telemetry makes of it is left out: the broker is real, and when its acks come in decides how long windows
        # are. Over a link with a limit it would also decide how much of that is left, which the policy sees.
        return {name: data[name] for name in names}

    assert figures("a") == figures("b")


def test_this_machine_runs_a_bundle_on_its_own_clock(tamiyo: Tamiyo, bundles: dict[str, Path], tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    result = tamiyo(
        *("run", bundles["x86-64"], "--samples", 50, "--period-ms", 0, "--latency-ms", 0, "--power-mw", 0),
        *("--trace", trace, "--state-dir", tmp_path, "--json"),
    )
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["latency_source"] == "measured"
    assert data["energy_source"] == "analytic"
    assert len(trace.read_text().splitlines()) == 51


@pytest.mark.parametrize(("variant", "interpreter"), [("tflite-float", "litert"), ("onnx-float", "onnxruntime")])
def test_both_interpreters_run_the_same_network(
    here: Tamiyo, tamiyo: Tamiyo, bundles: dict[str, Path], variant: str, interpreter: str
) -> None:
    manifest = json.loads(here("inspect", bundles["x86-64"], "--json").stdout)["manifest"]
    assert variant in [item["id"] for item in manifest["variants"]]
    result = tamiyo("run", bundles["x86-64"], "--variant", variant, "--samples", 60, "--period-ms", 0, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["interpreter"] == interpreter


@pytest.mark.long  # the exporters hold the same for two processes and two folders
def test_export_is_byte_identical_from_the_same_run(
    tamiyo: Tamiyo, run_folder: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    again = tmp_path / "again.tamiyo"
    arguments = ("--target", "raspberry-pi-4", "--out", again, "--accuracy-floor", "0", "--smoke")
    assert tamiyo("export", run_folder, *arguments).returncode == 0
    assert again.read_bytes() == bundles["raspberry-pi-4"].read_bytes()


@pytest.mark.broker
def test_the_demo_plays_from_end_to_end_and_leaves_a_self_contained_report(tamiyo: Tamiyo, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = tamiyo("demo", "--smoke", "--out", out, "--json")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert {entry["device"] for entry in data["ledger"]} == {"pi-4", "coral"}
    assert all(entry["sent"] == entry["stored"] + sum(entry["lost"].values()) for entry in data["ledger"])
    report = (out / "report.html").read_text()
    assert report.count("<svg") >= 6
    assert "src=" not in report
    assert "http-equiv" in report
    refused = tamiyo("demo", "--smoke", "--out", out)
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert tamiyo("demo", "--smoke", "--overwrite", "--out", tmp_path / "mine").returncode == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
