"""A small fault campaign of every kind, and the commands round it as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tamiyo_train.faults.bound import lower_bound
from tamiyo_train.faults.campaign import Report, run_campaign
from tamiyo_train.faults.kinds import Trial, kinds
from tests.integration.conftest import Tamiyo

pytestmark = pytest.mark.slow

FAULTS = 60


def test_every_kind_of_fault_is_rolled_back_and_the_result_does_not_depend_on_the_processes() -> None:
    report = run_campaign(faults=FAULTS, seed=1, processes=2)
    assert {trial.kind for trial in report.trials} == set(kinds.names())
    assert len(report.by_kind()) >= 10
    assert [trial for trial in report.trials if not trial.rolled_back] == []
    few = run_campaign(faults=10, seed=1, processes=1)
    assert few.trials == report.trials[:10]


@pytest.mark.parametrize("task", ["spheres", "spirals"])
def test_on_a_host_whose_slots_the_scene_fills_every_kind_is_rolled_back_too(task: str) -> None:
    report = run_campaign(faults=FAULTS // 2, seed=3, task=task, processes=2)
    assert {trial.kind for trial in report.trials} == set(kinds.names())
    assert [trial for trial in report.trials if not trial.rolled_back] == []


@pytest.mark.parametrize("task", ["language", "captions"])
def test_texts_and_pairs_of_modalities_can_be_broken_too(task: str) -> None:
    chosen = ("broken-blueprint", "drift", "label-noise")
    report = run_campaign(faults=12, seed=0, task=task, chosen=chosen, processes=1)
    assert [trial for trial in report.trials if not trial.rolled_back] == []


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    assert lower_bound(149, 149) == pytest.approx(0.05 ** (1 / 149))
    assert lower_bound(148, 148) < 0.98 <= lower_bound(149, 149)
    assert lower_bound(298, 298) < 0.99 <= lower_bound(299, 299)
    assert lower_bound(235, 236) >= 0.98 > lower_bound(234, 235)
    assert lower_bound(0, 10) == 0.0


def test_a_fault_counts_only_when_all_of_it_was_rolled_back() -> None:
    sound = {"kind": "k", "index": 0, "fault": "f", "steps": 3, "whole": True, "metric": 0.0}
    assert Trial(**sound).rolled_back
    for change in ({"steps": None}, {"steps": 11}, {"whole": False}, {"metric": None}, {"metric": -0.002}):
        assert not Trial(**{**sound, **change}).rolled_back


@pytest.mark.long
def test_a_campaign_below_the_floor_is_exit_3_and_a_misspelt_kind_exit_2(tamiyo: Tamiyo) -> None:
    few = tamiyo("train", "faults", "--faults", 3, "--kinds", "nan-weights", "--workers", 1, "--json")
    assert few.returncode == 3, few.stderr
    report = json.loads(few.stdout)
    assert (report["faults"], report["rolled_back"]) == (3, 3)
    assert report["lower_bound_95"] == pytest.approx(0.05 ** (1 / 3))
    wrong = tamiyo("train", "faults", "--kinds", "nan-weihgts")
    assert wrong.returncode == 2
    assert "nan-weights" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_run_can_still_be_called_faults(here: Tamiyo) -> None:
    plan = here("train", "./faults", "--dry-run", "--json")
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["run"] == "faults"


def test_missed_faults_are_listed() -> None:
    missed = Trial(kind="drift", index=1, fault="f", steps=None, whole=False, metric=None, told="not detected")
    report = Report(task="digits", seed=0, trials=(missed,))
    assert report.to_json()["missed"][0]["told"] == "not detected"
    assert report.bound == 0.0


@pytest.mark.toolchain
def test_the_audit_of_a_run_is_shown_verified_and_its_damage_named(here: Tamiyo, run_folder: Path) -> None:
    whole = here("audit", "verify", run_folder)
    assert whole.returncode == 0, whole.stderr
    assert "follow one from the other" in whole.stdout
    shown = here("audit", "show", run_folder)
    assert "germinate" in shown.stdout
    document = json.loads((run_folder / "run.json").read_text())
    document["record"]["audit"][3]["data"]["changed"] = 1
    damaged = run_folder.parent / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text(json.dumps(document))
    refused = here("audit", "verify", damaged)
    assert refused.returncode == 6
    assert "entry 3 " in refused.stderr
