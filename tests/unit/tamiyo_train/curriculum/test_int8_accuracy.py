"""Stage 6 is passed by what its networks answer in int8, on a graph that somebody else makes and runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError, MissingExtraError
from tamiyo_train.audit import AuditLog
from tamiyo_train.curriculum.conditions import Evidence
from tamiyo_train.curriculum.coursework import carry_out, check_course
from tamiyo_train.curriculum.examine import try_one
from tamiyo_train.curriculum.measures import INT8_ACCURACY, Examined, wholes
from tamiyo_train.curriculum.pupil import Pupil, success_of
from tamiyo_train.curriculum.runner import Settings
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.handover import Handover
from tamiyo_train.presets import preset

STAGE = replace(CURRICULUM.stage("6"), safety=())
QUICK = replace(STAGE, task="moons", width=None)
"""The same gate on two features: who judges does not depend on what is judged."""


def in_torch(handover: Handover, profile: str) -> float:
    """A judge that deploys nothing: the pieces in torch, one after the other."""
    seeds = {slot: module for slot, _, module in handover.seeds}
    spec = handover.input
    value = torch.from_numpy(((handover.test_inputs - spec.offset) * spec.scale).astype(np.float32))
    with torch.no_grad():
        for slot, piece in enumerate(handover.trunk):
            value = piece(value)
            value = seeds[slot](value) if slot in seeds else value
    return float((value.argmax(1).numpy() == handover.test_labels).mean())


@pytest.fixture(scope="module")
def pupils() -> tuple[Pupil, ...]:
    configs = [replace(STAGE.config(is_smoke=True), seed=seed) for seed in (1, 2)]
    return tuple(Pupil(config=one, grown=try_one(one, "random", None, ()).grown) for one in configs)


def measured(pupils: tuple[Pupil, ...], judge) -> Evidence:
    return wholes.get(INT8_ACCURACY)(Examined(pupils=pupils, seed=0, workers=1, judge=judge))


def test_what_is_handed_over_is_the_network_and_the_evidence_is_the_judges(pupils) -> None:
    assert any(pupil.grown.seeds for pupil in pupils)
    own = [success_of(pupil.grown.result) for pupil in pupils]
    found = measured(pupils, in_torch)
    assert found.estimate == pytest.approx(np.mean(own), abs=2e-3)
    assert found.count == 2
    assert f"{np.mean(own):.1%} before quantisation" in found.note
    assert "no loss reaches it" in found.note


def test_a_stage_may_grow_a_host_of_another_width_than_the_preset() -> None:
    assert replace(STAGE, width=5).config().width == 5
    assert replace(STAGE, width=None).config() == replace(STAGE, width=preset("imu").width).config()


def test_the_judge_is_told_the_device_of_the_stage(pupils) -> None:
    asked = []
    measured(pupils, lambda handover, profile: asked.append((handover.task, profile)) or 0.5)
    assert asked == [("imu", "ethos-u55-128")] * 2


def test_deploying_leaves_the_network_of_other_measures_alone(pupils) -> None:
    pupils[0].handover()
    assert all(param.requires_grad for param in pupils[0].network.trunk.parameters())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MissingExtraError("litert_torch", "export"), "'litert_torch' is not installed; type: pip install"),
        (IncompatibleError("seed1 cannot be converted"), "seed1 cannot be converted"),
    ],
)
def test_what_cannot_be_deployed_is_not_measured_and_says_why(pupils, error, told) -> None:
    def judge(handover: Handover, profile: str) -> float:
        raise error

    found = measured(pupils, judge)
    assert found.estimate is None
    assert told in found.note
    assert measured(pupils, None).estimate is None


def test_a_course_is_judged_by_whom_it_is_given_and_keeps_only_what_was_measured(tmp_path: Path) -> None:
    settings = Settings(stages=(QUICK,), networks=2, smoke=True, seed=3)
    check_course(tmp_path / "c", settings, resume=False, overwrite=False)

    def course(folder: str, judge):
        silent = {"on_progress": lambda *news: None, "on_round": lambda one: None, "on_remark": lambda remark: None}
        return carry_out(tmp_path / folder, settings, resume=False, processes=1, judge=judge, **silent)

    passed = course("passed", lambda handover, profile: 0.9)
    assert passed.complete
    assert [one.verdicts[0].evidence.estimate for one in passed.rounds] == [0.9, 0.9]
    missed = course("missed", None)
    assert not missed.complete
    assert {one.verdicts[0].evidence.note for one in missed.rounds} == {"nobody here deploys networks"}


def test_an_unmeasured_condition_is_measured_when_the_course_is_taken_up(tmp_path: Path) -> None:
    from tamiyo_train.curriculum.runner import Runner
    from tamiyo_train.work import Work

    settings = Settings(stages=(QUICK,), networks=2, smoke=True, seed=3)
    work = Work(tmp_path)

    def first_round(judge) -> Evidence:
        seen = []

        class EnoughError(Exception):
            pass

        def stop(rounds, standing) -> None:
            seen.append(rounds[0])
            raise EnoughError

        runner = Runner(settings, processes=1, work=work, audit=AuditLog(), on_progress=lambda *news: None, judge=judge)
        with pytest.raises(EnoughError):
            runner.run(stop)
        return seen[0].verdicts[0].evidence

    try:
        assert first_round(None).estimate is None
        assert first_round(lambda handover, profile: 0.9).estimate == 0.9
        assert first_round(None).estimate == 0.9, "what was measured is kept"
    finally:
        work.release()
