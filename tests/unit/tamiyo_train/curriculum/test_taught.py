"""What a course has taught is there to be used: another run grows under the policy in its folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import ExitCode, InputError, IntegrityError
from tamiyo_train import tensorfile
from tamiyo_train.checkpoint import load_run
from tamiyo_train.curriculum.coursework import carry_out
from tamiyo_train.curriculum.runner import Settings
from tamiyo_train.curriculum.stage import at_least
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.curriculum.taught import course_policy
from tamiyo_train.presets import preset

CLUSTERS = replace(CURRICULUM.stage("3.5"), success=at_least("purity", 0.0), safety=())
FILE = "policy-vector-3x9.safetensors"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("courses") / "c"
    carry_out(
        folder,
        Settings(stages=(CLUSTERS,), networks=2, smoke=True),
        resume=False,
        processes=1,
        on_progress=lambda *news: None,
        on_round=lambda one: None,
        on_remark=lambda remark: None,
    )
    return folder


def test_a_run_grows_under_the_policy_of_a_course_and_records_which_it_was(
    course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = ["train", str(tmp_path / "r"), "--task", "spirals", "--growth", str(course)]
    assert main([*begin, "--smoke", "--workers", "1"]) == ExitCode.OK
    assert "grown by policy (the one that a course taught)" in capsys.readouterr().out
    run, found = load_run(tmp_path / "r"), course_policy(course, preset("spirals"))
    assert run.record.lesson == {"from": "course", "layout": "vector-3x9", "weights_sha256": found.weights_sha256}
    assert all(torch.equal(run.policy[name], tensor) for name, tensor in found.policy.items())


def test_a_host_that_the_course_taught_nothing_for_is_refused_with_what_there_is(
    course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "r"), "--growth", str(course)]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "has taught no policy for host 'dsconv' of task 'digits'" in error
    assert "there are policies for vector-3x9" in error
    assert not (tmp_path / "r").exists()


def test_a_policy_over_other_blueprints_or_a_damaged_one_is_refused(course: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(course, folder)
    head, weights = tensorfile.read(folder / FILE)
    other = {**head, "blueprints": [*head["blueprints"][:-1], "sliding-conv"]}
    tensorfile.write(folder / FILE, other, weights)
    with pytest.raises(InputError, match=r"decides among no-op, .*sliding-conv"):
        course_policy(folder, preset("spirals"))
    tensorfile.write(folder / FILE, {"layout": "vector-3x9"}, weights)
    with pytest.raises(IntegrityError, match="does not say what it decides over"):
        course_policy(folder, preset("spirals"))
    (folder / FILE).write_bytes((course / FILE).read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="damaged"):
        course_policy(folder, preset("spirals"))


def test_no_two_stages_with_different_heads_share_the_name_of_a_policy() -> None:
    layouts = Settings(stages=CURRICULUM.between("0", "1")).layouts()
    assert [str(layout) for layout in layouts.values()] == ["vector-3x9", "image-4x5"]
    assert layouts["0"].blueprints != layouts["1"].blueprints
