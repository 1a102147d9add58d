"""What an examination holds networks against: the host that grew nothing, and every task that the stage is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tamiyo_runtime.cli.course_page import render
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_train.curriculum.conditions import Evidence
from tamiyo_train.curriculum.coursework import carry_out, load_course
from tamiyo_train.curriculum.examine import judged, try_one
from tamiyo_train.curriculum.measures import Examined, alerts, clean_loss, networks, wholes
from tamiyo_train.curriculum.pupil import Pupil
from tamiyo_train.curriculum.runner import Settings
from tamiyo_train.curriculum.stage import at_least, at_most
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.evaluation import score
from tamiyo_train.faults.campaign import Report
from tamiyo_train.faults.kinds import Trial
from tamiyo_train.jobs import trained
from tamiyo_train.measures import clean_digits

LOGIC = CURRICULUM.stage("5")


def test_clean_loss_is_against_the_host_that_was_trained_as_long_without_growing() -> None:
    config = replace(CURRICULUM.stage("2.5").config(is_smoke=True), seed=1)
    tried = try_one(config, "random", None, (at_most("clean loss", 0.01),))
    bare = trained(config, {}).network
    pupil = Pupil(config=config, grown=tried.grown)
    before, after = (score(network, clean_digits()).accuracy for network in (bare, pupil.network))
    assert tried.figures["clean loss"] == pytest.approx(before - after)
    assert tried.ungrown is not None
    assert tried.training_macs == tried.grown.result.training_macs + tried.ungrown.training_macs
    without_seeds = score(pupil.network, clean_digits(), [0.0] * pupil.network.slots).accuracy
    assert before != without_seeds, "a host without its seeds is not the host that never had any"
    with pytest.raises(ValueError, match="not trained beside it"):
        clean_loss(pupil)


def test_a_stage_is_not_passed_while_networks_on_its_other_task_miss_the_bound() -> None:
    stage = replace(LOGIC, safety=(at_least("accuracy", 0.99, on="checkerboard"),))
    config = stage.config(is_smoke=True)
    one = try_one(config, "none", None, ())
    good, bad = replace(one, figures={"accuracy": 1.0}), replace(one, figures={"accuracy": 0.5})

    def nothing_else(measure: str, examined: object) -> Evidence:
        raise AssertionError(measure)

    def passed(beside: tuple[object, ...]) -> list[bool]:
        found = judged(
            stage,
            (good, good),
            (config, config),
            beside={"checkerboard": beside},  # type: ignore[dict-item]  # they are tried
            whole=nothing_else,
            seed=0,
            workers=1,
            faults=0,
        )
        return [verdict.passed for verdict in found.verdicts]

    assert passed((good, good)) == [True, True]
    assert passed((bad, bad)) == [True, False]


def test_the_other_task_has_its_own_preset_and_its_own_part_of_the_gate() -> None:
    other = LOGIC.on("checkerboard")
    assert LOGIC.others == ("checkerboard",)
    assert [str(condition) for condition in other.conditions] == [
        "accuracy at least 0.99",
        "drift at most 0.05",
        "useful seeds at least 1",
    ]
    config = other.config()
    assert (config.task, config.width, config.profile) == ("checkerboard", 8, LOGIC.profile)
    assert config.final.drift_target == LOGIC.config().final.drift_target == 0.025


def test_networks_of_both_tasks_are_grown_from_seeds_of_their_own_and_shown(tmp_path: Path) -> None:
    stage = replace(LOGIC, safety=(at_least("accuracy", 0.99, on="checkerboard"),))
    settings = Settings(stages=(stage,), networks=2, smoke=True)
    carry_out(
        tmp_path / "c",
        settings,
        resume=False,
        processes=1,
        on_progress=lambda *news: None,
        on_round=lambda one: None,
        on_remark=lambda remark: None,
    )
    record = load_course(tmp_path / "c")
    last = record.rounds[-1]
    assert [verdict.condition.name for verdict in last.verdicts] == ["accuracy", "accuracy on checkerboard"]
    grown = [net for found in (last.networks, *last.beside.values()) for net in found]
    assert len(grown) == 4
    assert last.training_macs.examination == sum(net.result.training_macs for net in grown)
    assert last.verdicts[1].evidence.estimate == pytest.approx(
        sum(net.figures["accuracy"] for net in last.beside["checkerboard"]) / 2
    )
    assert "network on checkerboard" in render(record, (stage,))


def test_a_broken_chain_a_weight_that_is_no_number_and_a_reading_out_of_range_are_alerts() -> None:
    config = CURRICULUM.stage("3.5").config(is_smoke=True)
    grown = try_one(config, "random", None, ()).grown
    assert alerts(Pupil(config=config, grown=grown)) == 0
    name, weights = next(iter(grown.network.items()))
    broken = {**grown.network, name: torch.full_like(weights, torch.nan)}
    assert alerts(Pupil(config=config, grown=replace(grown, network=broken))) == 1
    assert alerts(Pupil(config=config, grown=replace(grown, audit=grown.audit[1:]))) == 1
    seen = grown.experience.observation.copy()
    seen[3, len(GLOBAL_FEATURES) + SLOT_FEATURES.index("alert")] = 1.0
    told = replace(grown, experience=replace(grown.experience, observation=seen))
    assert alerts(Pupil(config=config, grown=told)) == 1


def test_faults_that_were_not_rolled_back_are_told_by_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def campaign(**asked: object) -> Report:
        trials = [
            Trial(kind=kind, index=index, fault="f", steps=1, whole=kind != "drift", metric=0.0)
            for index, kind in enumerate(["drift", "label-noise", "drift", "label-noise"])
        ]
        return Report(task=str(asked["task"]), seed=0, trials=tuple(trials))

    monkeypatch.setattr("tamiyo_train.curriculum.measures.run_campaign", campaign)
    config = CURRICULUM.stage("4").config(is_smoke=True)
    pupil = Pupil(config=config, grown=try_one(config, "none", None, ()).grown)
    found = wholes.get("rollback")(Examined(pupils=(pupil,), seed=0, workers=1, faults=4))
    assert (found.estimate, found.count) == (0.5, 4)
    assert found.note == "faults injected while growing on spheres; missed: 2 of 2 drift"


def test_what_is_asked_of_another_task_is_asked_of_single_networks() -> None:
    for stage in CURRICULUM.stages:
        for condition in stage.conditions:
            if condition.task is not None:
                assert condition.measure in networks.names()
                assert condition.measure not in wholes.names()


def test_torchs_own_generator_is_left_as_it_was_by_a_host_trained_beside() -> None:
    before = torch.random.get_rng_state()
    trained(CURRICULUM.stage("3.5").config(is_smoke=True), {})
    assert torch.equal(before, torch.random.get_rng_state())
