"""A course on very little work: it fails its gates, says so, and leaves the same whatever stops it on the way."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles.loader import load_profile
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import ExitCode, InputError, IntegrityError, UnknownNameError, UsageError
from tamiyo_train import tensorfile
from tamiyo_train.audit import verify
from tamiyo_train.audit_file import read_entries
from tamiyo_train.blueprints import OFFERED, Domain
from tamiyo_train.curriculum.coursework import carry_out, check_course, load_course
from tamiyo_train.curriculum.measures import networks, wholes
from tamiyo_train.curriculum.round import CourseRecord
from tamiyo_train.curriculum.runner import Settings
from tamiyo_train.curriculum.school import lessons, opening
from tamiyo_train.curriculum.stage import Stage, at_least, at_most
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.jobs import new_host, offered
from tamiyo_train.presets import preset
from tamiyo_train.work import Work

CLUSTERS = replace(CURRICULUM.stage("3.5"), success=at_least("purity", 0.99), safety=(at_most("drift", 2.0),))
SHORT = Settings(stages=(CLUSTERS,), networks=2, smoke=True, seed=5)


class StoppedError(Exception):
    """Somebody pulled the plug."""


def do(
    folder: Path, settings: Settings, *, on_round: Callable[[CourseRecord], None] = lambda one: None, **options: bool
) -> CourseRecord:
    resume = options.get("resume", False)
    check_course(folder, settings, resume=resume, overwrite=False)
    return carry_out(
        folder,
        settings,
        resume=resume,
        processes=1,
        on_progress=lambda *news: None,
        on_round=on_round,
        on_remark=lambda remark: None,
    )


def told(folder: Path) -> list[str]:
    """What the audit log tells, and every policy bit by bit."""
    entries = read_entries(folder / "audit.jsonl")
    verify(entries)
    policies = [
        str(sorted((n, t.sum().item()) for n, t in tensorfile.read(p)[1].items()))
        for p in sorted(folder.glob("*.safetensors"))
    ]
    return [*(entry.sha256 for entry in entries), *policies]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("courses") / "whole"
    do(folder, SHORT)
    return folder


def test_a_gate_that_is_missed_ends_the_course_with_what_is_missing(course: Path) -> None:
    record = load_course(course)
    assert not record.complete
    assert [one.move.value for one in record.rounds] == ["repeat", "stop"]
    success, drift = record.rounds[-1].verdicts
    assert not success.passed
    assert success.short_by is not None and success.short_by > 0
    assert drift.passed
    assert record.rounds[0].lessons == {"3.5": 2}
    assert record.rounds[1].training_macs.lessons > 0


def test_the_audit_log_tells_of_every_round(course: Path) -> None:
    entries = read_entries(course / "audit.jsonl")
    begun, *rounds = entries
    assert (begun.kind, begun.data["from"], begun.data["layout"]) == ("opening", "shipped", "vector-3x9")
    assert [entry.data["move"] for entry in rounds] == ["repeat", "stop"]
    assert rounds[0].data["failed"] == ["purity at least 0.99"]


def test_a_course_begins_with_the_shipped_policy_where_that_knows_the_blueprints() -> None:
    begun = opening(CLUSTERS.config())
    assert begun is not None
    assert begun.card["blueprints"] == list(OFFERED[Domain.VECTOR])
    assert opening(CURRICULUM.stage("1").config()) is None
    assert opening(replace(CLUSTERS.config(), taught=("no-op", "glu"))) is None


def test_a_course_that_was_stopped_ends_as_one_that_was_not(
    course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stopped"

    def stop(one: CourseRecord) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        do(folder, SHORT, on_round=stop)
    assert main(["audit", "verify", str(folder)]) == ExitCode.OK
    assert "what was begun there is not finished" in capsys.readouterr().out
    with pytest.raises(InputError, match="begun and not finished"):
        do(folder, SHORT)
    with pytest.raises(UsageError, match="seed = 5, not 6"):
        do(folder, replace(SHORT, seed=6), resume=True)
    (folder / ".work" / "round-0-3.5-1.safetensors").write_bytes(b"torn")
    do(folder, SHORT, resume=True)
    assert told(folder) == told(course)
    assert not (folder / ".work").exists()


def test_an_unfinished_course_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(tmp_path)
    work.begin({"course": {}, "stages": {}})
    work.release()
    assert main(["train", str(tmp_path), "--resume"]) == ExitCode.USAGE
    assert "is no run" in capsys.readouterr().err


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """As on a disk that is nearly full: what is larger cannot be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_course_whose_files_do_not_fit_says_so_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Policies are larger than the limit, records of episodes are not."""
    folder = tmp_path / "full"
    begin = ["train", "--curriculum", str(folder), "--to", "0", "--smoke", "--networks", "2", "--workers", "1"]
    with files_of_at_most(100_000):
        assert main(begin) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "cannot write" in error and "round-0-policy" in error and "Traceback" not in error
    kept = {path.name for path in (folder / ".work").iterdir()}
    assert {"round-0-lesson-0.safetensors", "round-0-lesson-1.safetensors", "settings.json"} <= kept
    assert not [name for name in kept if "policy" in name or name.endswith(".part")]
    assert main([*begin, "--resume"]) == ExitCode.BUDGET
    assert "2 done" in capsys.readouterr().err
    assert not load_course(folder).complete


def test_a_folder_with_a_course_is_not_overwritten_and_a_damaged_record_is_refused(
    course: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="already holds a course"):
        check_course(course, SHORT, resume=False, overwrite=False)
    check_course(course, SHORT, resume=False, overwrite=True)
    with pytest.raises(InputError, match="no unfinished course"):
        check_course(course, SHORT, resume=True, overwrite=False)
    with pytest.raises(InputError, match="no course in"):
        load_course(tmp_path)
    (tmp_path / "course.json").write_text((course / "course.json").read_text()[:-200])
    with pytest.raises(IntegrityError, match="damaged"):
        load_course(tmp_path)


def test_every_condition_of_every_stage_names_a_measure() -> None:
    for stage in CURRICULUM.stages:
        for condition in stage.conditions:
            assert condition.measure in {*networks.names(), *wholes.names()}, (stage.id, condition)


@pytest.mark.long  # it makes the samples of every task
def test_what_a_stage_is_there_to_teach_can_be_chosen_and_fits_a_slot_of_its_host() -> None:
    for stage in CURRICULUM.stages:
        config = stage.config()
        host = new_host(config, 0)
        there = {blueprint.name: blueprint for blueprint in offered(host, config.taught)}
        for name in stage.taught:
            assert any(there[name].misfit(place) is None for place in host.places), (stage.id, name)


@pytest.mark.long  # it makes the samples of every task
def test_every_task_of_every_stage_is_judged_by_its_metric() -> None:
    check_course(Path("nowhere"), Settings(stages=CURRICULUM.stages), resume=False, overwrite=False)


def test_no_gate_allows_a_latency_that_the_budget_of_its_device_does_not() -> None:
    found = {}
    for stage in CURRICULUM.stages:
        for condition in stage.conditions:
            if condition.measure == "latency p99 (ms)":
                budget = load_profile(stage.profile).budget().latency_ms
                found[stage.id] = condition.bound <= budget
    assert found == {"3": True, "6": True}


def test_a_stage_that_does_not_exist_is_told_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError):
        CURRICULUM.stage("7")
    assert main(["train", "--curriculum", "--from", "35"]) == ExitCode.USAGE
    assert "did you mean 3.5" in capsys.readouterr().err
    assert main(["train", "--curriculum", "--from", "3.5", "--to", "0"]) == ExitCode.USAGE
    assert "stage 0 comes before stage 3.5" in capsys.readouterr().err


def test_a_stage_judged_by_another_metric_than_its_task_is_refused(tmp_path: Path) -> None:
    wrong = replace(CLUSTERS, success=at_least("recall@1", 0.6))
    with pytest.raises(UsageError, match="is judged by purity"):
        check_course(tmp_path, Settings(stages=(wrong,)), resume=False, overwrite=False)


def test_the_command_shows_the_gates_without_doing_anything(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", str(tmp_path / "c"), "--curriculum", "--to", "0", "--dry-run", "--json"]) == ExitCode.OK
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert stage["gate"][0] == "accuracy at least 0.99"
    assert not (tmp_path / "c").exists()


def test_the_command_exits_with_3_when_a_gate_is_missed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = [
        "train",
        "--curriculum",
        str(tmp_path / "c"),
        "--to",
        "1",
        "--smoke",
        "--networks",
        "2",
        "--workers",
        "1",
    ]
    assert main([*arguments, "--seed", "3"]) == ExitCode.BUDGET
    out = capsys.readouterr().out
    assert "accuracy   at least 0.99" in out
    assert "not passed" in out
    assert "--task spirals --growth" in out, "no policy was taught for the stage that was not reached"
    page = (tmp_path / "c" / "report.html").read_text()
    assert "Stage 0: two spirals of 2.5 turns, not passed" in page
    assert "A smoke run" in page
    assert page.count("<svg") == 5
    assert main(["audit", "show", str(tmp_path / "c")]) == ExitCode.OK
    assert "stage 0: stop" in capsys.readouterr().out
    assert main(["audit", "verify", str(tmp_path / "c")]) == ExitCode.OK
    assert "not finished" not in capsys.readouterr().out


def test_the_line_of_an_examination_ends_before_its_table_and_faults_have_a_line_of_their_own(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    begin = ["train", "--curriculum", str(tmp_path / "c"), "--from", "4", "--to", "4", "--smoke", "--networks", "2"]
    with (tmp_path / "told").open("w+") as told, redirect_stdout(told), redirect_stderr(told):
        assert main([*begin, "--workers", "1"]) == ExitCode.BUDGET
        told.seek(0)
        lines = told.read()
    examined, faults = "round 1, stage 4: examination", "round 1, stage 4: rollback  4/4"
    assert lines.index(examined) < lines.index(faults) < lines.index("stage 4, round 1: 2 networks")


def test_fewer_networks_than_a_gate_asks_for_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--curriculum", str(tmp_path / "c"), "--to", "0", "--networks", "4"]) == ExitCode.USAGE
    assert "a gate asks for 5 or more" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_course_that_is_over_is_shown_again_and_its_page_written_anew(
    course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "over"
    shutil.copytree(course, folder)
    assert main(["train", "--curriculum", str(folder), "--resume"]) == ExitCode.BUDGET
    out = capsys.readouterr().out
    assert "purity at least 0.99" in out
    assert f"tamiyo train --task clusters --growth {folder}" in out
    assert "Stage 3.5: Gaussian clusters, not passed" in (folder / "report.html").read_text()
    assert main(["train", "--curriculum", str(folder), "--resume", "--json"]) == ExitCode.BUDGET
    assert json.loads(capsys.readouterr().out)["following"] is None


def test_a_course_under_way_says_after_each_round_what_comes_next(tmp_path: Path) -> None:
    told: list[tuple[int, str | None, bool]] = []
    do(
        tmp_path / "c",
        replace(SHORT, stages=(replace(CLUSTERS, success=at_least("purity", 0.0)),)),
        on_round=lambda sofar: told.append((len(sofar.rounds), sofar.following, sofar.over)),
    )
    assert told == [(1, "3.5", False), (2, None, True)]


def test_every_earlier_stage_that_shares_the_policy_is_rehearsed_and_what_all_of_it_cost_is_kept(
    tmp_path: Path,
) -> None:
    easy = tuple(
        replace(CURRICULUM.stage(name), success=at_least(measure, -1.0), safety=())
        for name, measure in (("0", "accuracy"), ("3.5", "purity"), ("4", "accuracy"))
    )
    do(tmp_path / "c", replace(SHORT, stages=easy))
    rounds = load_course(tmp_path / "c").rounds
    assert [(one.stage, sorted(one.rehearsed)) for one in rounds[:4]] == [
        ("0", []),
        ("0", []),
        ("3.5", ["0"]),
        ("3.5", []),
    ]
    assert {name for one in rounds if one.stage == "4" for name in one.rehearsed} == {"0", "3.5"}
    taught, confirmed = rounds[:2]
    assert taught.training_macs.lessons > 0 and taught.training_macs.rehearsal == 0
    assert confirmed.training_macs.lessons == 0 and confirmed.training_macs.examination > 0
    assert rounds[2].training_macs.rehearsal > 0
    macs = rounds[2].training_macs
    assert macs.total == macs.lessons + macs.examination + macs.rehearsal


@pytest.mark.parametrize("stage", CURRICULUM.stages, ids=lambda stage: stage.id)
def test_between_a_tenth_and_a_fifth_of_the_lessons_are_of_earlier_stages(stage: Stage) -> None:
    episodes = preset(stage.task).episodes
    plan = lessons(
        stage, [CLUSTERS], seed=0, share=Settings(stages=(stage,)).rehearsal, has_policy=True, is_smoke=False
    )
    rehearsed = sum(lesson.config.task == "clusters" for lesson in plan)
    if stage.id != "3.5":
        assert len(plan) == episodes
        assert 0.1 <= rehearsed / episodes <= 0.2


def test_a_stage_grows_on_a_host_of_its_own_width_and_against_its_own_attack() -> None:
    stage = CURRICULUM.stage("1")
    own = replace(stage, width=5, attack=0.2).config()
    assert (own.width, own.collect.attack, own.final.attack) == (5, 0.2, 0.2)
    plain = replace(stage, width=None, attack=None).config()
    assert replace(plain, profile=preset("digits").profile) == preset("digits")
