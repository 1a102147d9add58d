"""The signal stages from growth to int8: what they teach can be grafted, exported to TFLite, and keeps its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Tamiyo

pytestmark = [pytest.mark.toolchain, pytest.mark.slow, pytest.mark.long]

TAUGHT = {"ecg": ("sliding-conv", "sparse-activation"), "imu": ("quant-adapter", "fail-safe-bottleneck")}
LEAST_DB, MOST_LOST = 20.0, 0.03


def schedule(blueprints: tuple[str, ...]) -> str:
    """One blueprint into slot 1 and the next into slot 3, advanced and kept as soon as the gates let them."""
    decisions = []
    for slot, blueprint in zip((1, 3), blueprints, strict=True):
        decisions.append(
            f'window = 1\noperation = "germinate"\nblueprint = "{blueprint}"\nintensity = 1.0\nslot = {slot}'
        )
        decisions.append(f'window = 3\noperation = "advance"\nslot = {slot}')
        decisions.append(f'window = 8\noperation = "fossilise"\nslot = {slot}')
    return "".join(f"[[decision]]\n{decision}\n" for decision in sorted(decisions, key=lambda text: text[:12]))


@pytest.mark.parametrize("task", TAUGHT)
def test_what_a_signal_stage_teaches_grows_and_holds_in_int8(tamiyo: Tamiyo, tmp_path: Path, task: str) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(schedule(TAUGHT[task]))
    run, bundle = tmp_path / "run", tmp_path / "coral.tamiyo"
    trained = tamiyo("train", run, "--task", task, "--steps", 320, "--growth", plan, "--workers", 1, "--json")
    assert trained.returncode == 0, trained.stderr
    record = json.loads(trained.stdout)
    grown = {seed["blueprint"] for seed in record["seeds"]}
    assert grown, "no seed was kept"
    assert grown <= set(TAUGHT[task])
    made = tamiyo("export", run, "--target", "coral-usb", "--out", bundle, "--accuracy-floor", 0, "--json")
    assert made.returncode == 0, made.stderr
    variant = next(item for item in json.loads(made.stdout)["variants"] if item["id"] == "tflite-int8")
    full = max(variant["runnables"], key=lambda item: item["configuration"].count("1"))
    lost = full["torch_accuracy"] - full["accuracy"]
    print(f"{task}: {sorted(grown)}, {full['torch_accuracy']:.3f} -> {full['accuracy']:.3f}, {full['sqnr_db']} dB")
    assert lost <= MOST_LOST
    assert full["sqnr_db"] >= LEAST_DB
