"""Vectors and sequences go the way of images: trained, exported, run on a device, as accurate as was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Tamiyo

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

STEPS = {"spirals": 256, "mnist1d": 64}
INPUTS = {"spirals": [2], "mnist1d": [1, 40]}


@pytest.fixture(scope="module", params=[pytest.param("mnist1d", marks=pytest.mark.long), "spirals"])
def trained(request: pytest.FixtureRequest, here: Tamiyo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on a task of another domain, grown by the heuristic."""
    folder: Path = tmp_path_factory.mktemp("domains") / request.param
    options = ("--growth", "kasmina", "--smoke", "--steps", STEPS[request.param], "--workers", 1)
    result = here("train", folder, "--task", request.param, *options)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("target", ["x86-64", pytest.param("raspberry-pi-4", marks=pytest.mark.long)])
def test_a_bundle_is_as_accurate_on_the_device_as_its_manifest_says(
    here: Tamiyo, trained: Path, tmp_path: Path, target: str
) -> None:
    bundle = tmp_path / f"{target}.tamiyo"
    made = here("export", trained, "--target", target, "--out", bundle, "--accuracy-floor", 0, "--smoke")
    assert made.returncode == 0, made.stderr
    manifest = json.loads(here("inspect", bundle, "--json").stdout)["manifest"]
    assert manifest["task"] == trained.name
    assert manifest["input"]["shape"] == INPUTS[trained.name]
    arguments = ("--period-ms", 0, "--latency-ms", 0, "--power-mw", 0, "--broker", "none", "--state-dir", tmp_path)
    for variant in manifest["variants"]:
        accuracy = {item["configuration"]: item["accuracy"] for item in variant["runnables"]}
        result = here("run", bundle, "--variant", variant["id"], "--no-policy", *arguments, "--json")
        assert result.returncode == 0, result.stderr
        data = json.loads(result.stdout)
        assert data["samples"] == data["inferences"] == data["labelled"]
        expected = sum(accuracy[name] * count for name, count in data["counts"].items()) / data["samples"]
        assert data["accuracy"] == pytest.approx(expected)


@pytest.mark.long
def test_the_policy_of_such_a_run_drives_a_simulated_board(here: Tamiyo, trained: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "pi.tamiyo"
    made = here("export", trained, "--target", "raspberry-pi-4", "--out", bundle, "--accuracy-floor", 0, "--smoke")
    assert made.returncode == 0, made.stderr
    arguments = ("--device", "simulated", "--samples", 100, "--broker", "none", "--state-dir", tmp_path, "--json")
    result = here("run", bundle, *arguments)
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["inferences"] == 100
    assert data["policy_failures"] == data["deadline_misses"] == 0


def test_a_grown_run_is_well_above_chance_and_records_where_it_came_from(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())["record"]
    chance = 1 / record["classes"]
    assert record["task"] == trained.name
    assert record["input_shape"] == INPUTS[trained.name]
    assert record["results"]["grown"]["test_accuracy"] > 1.2 * chance
