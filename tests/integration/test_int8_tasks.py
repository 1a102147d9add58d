"""Every shipped task keeps its accuracy in int8, or 30 dB of signal over quantisation noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Tamiyo

pytestmark = [pytest.mark.toolchain, pytest.mark.slow, pytest.mark.long]

TASKS = ("moons", "complex-moons", "spirals", "clusters", "spheres", "checkerboard", "xor", "digits", "mnist1d")
TARGETS = ("raspberry-pi-4", "coral-usb")
LEAST_DB, MOST_LOST = 30.0, 0.01


@pytest.mark.parametrize("task", TASKS)
def test_a_grown_network_holds_in_int8(tamiyo: Tamiyo, tmp_path: Path, task: str) -> None:
    run = tmp_path / "run"
    trained = tamiyo("train", run, "--task", task, "--growth", "kasmina", "--episodes", 0, "--workers", 1)
    assert trained.returncode == 0, trained.stderr
    for target in TARGETS:
        made = tamiyo("export", run, "--target", target, "--out", tmp_path / f"{target}.tamiyo", "--json")
        assert made.returncode == 0, made.stderr
        report = json.loads(made.stdout)
        variant = next(item for item in report["variants"] if item["id"] == "tflite-int8")
        full = max(variant["runnables"], key=lambda item: (item["configuration"].count("1"), item["configuration"]))
        lost = full["torch_accuracy"] - full["accuracy"]
        print(f"{task} {target}: {full['torch_accuracy']:.3f} -> {full['accuracy']:.3f}, {full['sqnr_db']} dB")
        assert lost <= MOST_LOST or full["sqnr_db"] >= LEAST_DB, f"{task}: {lost:.3f} lost at {full['sqnr_db']} dB"
