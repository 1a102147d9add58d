"""``tamiyo profile probes``, ``tamiyo measure`` and ``tamiyo profile calibrate``, as a user types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles.loader import load_profile
from exporters import probes
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.device_profiles import synthetic_runs


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kit of a few graphs, to be quick."""
    chosen = {name: replace(probes.FAMILIES[name], count=2) for name in ("dense", "separable-network")}
    monkeypatch.setattr(probes, "FAMILIES", chosen)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.json"
    path.write_bytes(synthetic_runs.runs(noise=0.05).to_json())
    return path


@pytest.mark.usefixtures("few")
def test_a_kit_is_written_and_measured(tamiyo, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    kit, out = tmp_path / "p.tamiyo-probes", tmp_path / "runs.json"
    made = tamiyo("profile", "probes", "--out", kit, "--json")
    assert made.code == 0
    assert json.loads(made.out)["graphs"] == 8
    assert tamiyo("profile", "probes", "--out", kit).code == 2
    done = tamiyo("measure", kit, "--out", out, "--seconds", "0.1", "--device", "bench")
    assert done.code == 0, done.err
    assert "separable-network" in done.out
    assert "tamiyo profile calibrate" in done.out
    data = json.loads(out.read_text())
    assert (data["schema"], data["machine"]["device"], len(data["runs"])) == ("tamiyo.runs/1", "bench", 8)
    assert tamiyo("measure", kit, "--out", out).code == 2  # exists
    few_runs = tamiyo("profile", "calibrate", "x86-64", out, "--dry-run")
    assert few_runs.code == 2
    assert "at least 30 are needed" in few_runs.err
    assert tamiyo("measure", kit, "--precision", "int4").code == 2
    assert tamiyo("measure", kit, "--variant", "x").code == 2
    one = tamiyo("measure", kit, "--seconds", "0.05", "--precision", "int8", "--json")
    assert {run["precision"] for run in json.loads(one.out)["runs"]} == {"int8"}


def test_a_bundle_is_measured_configuration_by_configuration(tamiyo, own_bundle: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.json"
    done = tamiyo("measure", own_bundle, "--seconds", "0.1", "--json", "--out", out)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert data["subject"] == "bundle"
    assert all(run["p50_us"] > 0 and run["estimate_us"] > 0 for run in data["runs"])
    assert tamiyo("measure", own_bundle, "--seconds", "0.1").out.count("/c") >= len(data["runs"])
    refused = tamiyo("profile", "calibrate", "x86-64", out, "--dry-run")
    assert refused.code == 2
    assert "say nothing of single operators" in refused.err
    assert "estimates are of" in tamiyo("measure", own_bundle, "--seconds", "0.1").out
    assert tamiyo("measure", own_bundle, "--variant", "absent").code == 2
    assert tamiyo("measure", tmp_path / "absent.tamiyo").code == 2


def test_a_profile_is_calibrated_into_a_file_that_every_command_reads(tamiyo, runs: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "mine.toml"
    dry = tamiyo("profile", "calibrate", "raspberry-pi-4", runs, "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert not out.exists()
    done = tamiyo("profile", "calibrate", "raspberry-pi-4", runs, "--out", out, "--id", "my-pi")
    assert done.code == 0, done.err
    assert "90 % interval" in done.out
    known = load_profile(str(out))
    assert known.id == "my-pi"
    data = json.loads(dry.out)
    assert known.value("model.relative_error") == pytest.approx(data["relative_error"], rel=1e-3)
    assert out.with_suffix(".svg").read_text().startswith("<svg")
    assert tamiyo("profile", "check", out).code == 0
    assert tamiyo("profile", "calibrate", "raspberry-pi-4", runs, "--out", out).code == 2
    assert tamiyo("profile", "calibrate", out, runs, "--out", out, "--overwrite").code == 0
    assert load_profile(str(out)).revision == known.revision + 1


def test_calibrate_says_what_is_wrong_with_its_input(tamiyo, runs: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def refuse(*arguments: object) -> str:
        done = tamiyo("profile", "calibrate", *arguments)
        assert done.code in {2, 4}
        assert "hint: " in done.err
        return str(done.err)

    assert "where to write" in refuse("raspberry-pi-4", runs)
    assert "does not end in .toml" in refuse("raspberry-pi-4", runs, "--out", tmp_path / "mine.json")
    assert "unknown profile" in refuse("raspberry-pi-44", runs, "--dry-run")
    assert "not found" in refuse("raspberry-pi-4", tmp_path / "absent.json", "--dry-run")
    assert "accelerator" in refuse("coral-usb", runs, "--dry-run")
    other = tmp_path / "other.json"
    machine = replace(synthetic_runs.MACHINE, interpreter_version="9.9")
    other.write_bytes(synthetic_runs.runs(machine=machine).to_json())
    assert "interpreter version '2.3.0', other.json of '9.9'" in refuse("raspberry-pi-4", runs, other, "--dry-run")
    whole = synthetic_runs.runs()
    floats = replace(whole, runs=tuple(run for run in whole.runs if run.precision is Precision.FLOAT32))
    other.write_bytes(floats.to_json())
    assert "no run is in int8" in refuse("raspberry-pi-4", other, "--dry-run")
