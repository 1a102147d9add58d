"""``tamiyo train tune-reward`` as a user meets it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch

from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import ExitCode
from tamiyo_train.config import Prices
from tamiyo_train.policy.levels import FAMILIES, PROFILES
from tamiyo_train.tuning.outcomes import Outcomes, joined
from tamiyo_train.tuning.tune import REPORT, STUDY
from tamiyo_train.work import Work, keep, settings_of
from tests.unit.tamiyo_train.tuning.helpers import SMOKE, tune


def played_at(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / ".work").glob("outcomes-*")}


def test_a_study_shows_tuned_weights_beside_the_shipped_ones_and_what_each_changes(study, capsys):
    assert tune(study, "--resume") == ExitCode.OK
    out = capsys.readouterr().out
    for name, value in ((name, getattr(Prices(), name)) for name in Prices.__dataclass_fields__):
        assert any(line.startswith(name) and f"{value:g}" in line for line in out.splitlines())
        assert f"{name} x 0" in out and f"{name} x 10" in out
    for word in ("as shipped", "tuned", "accuracy only", "importance", "score accuracy", "energy", "95 % intervals"):
        assert word in out
    assert max(map(len, out.splitlines()[:-1])) <= 100
    assert f"Next:  tamiyo train tune-reward {study} --resume --trials 24" in out


def test_a_finished_study_taken_up_again_plays_nothing_and_ends_the_same(study, capsys):
    before, files = (study / REPORT).read_bytes(), played_at(study)
    assert len(files) == 6 * 3
    assert tune(study, "--resume", "--json") == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert (study / REPORT).read_bytes() == before
    assert played_at(study) == files
    assert told["trials"] == 12 and isinstance(told["better"], bool)
    assert {key: told[key] for key in json.loads(before)} == json.loads(before)


def test_a_study_of_which_half_is_lost_is_played_and_searched_again_to_the_same_end(study, capsys):
    before = (study / REPORT).read_bytes()
    lost = sorted((study / ".work").glob("outcomes-*"))[::4]
    for path in lost:
        path.unlink()
    lost[0].write_bytes(b"not a tensor file")
    (study / STUDY).unlink()
    assert tune(study, "--resume") == ExitCode.OK
    assert "done again" in capsys.readouterr().err
    assert (study / REPORT).read_bytes() == before


def test_more_trials_never_do_worse_on_what_was_tuned_on(study, tmp_path):
    few = json.loads((study / REPORT).read_text())
    assert few["score_tuned"] >= few["score_shipped"]
    assert [row["name"] for row in few["rows"]][:3] == ["as shipped", "tuned", "accuracy only"]
    assert few["rows"][0]["prices"] == {name: getattr(Prices(), name) for name in Prices.__dataclass_fields__}


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(study, tmp_path):
    folder = tmp_path / "two"
    assert main(["train", "tune-reward", str(folder), *SMOKE, "--workers", "2"]) == ExitCode.OK
    assert (folder / REPORT).read_bytes() == (study / REPORT).read_bytes()


def test_a_study_that_is_there_is_not_replaced_unasked(study, capsys):
    before = (study / REPORT).read_bytes()
    assert tune(study) == ExitCode.USAGE
    assert "--resume" in capsys.readouterr().err
    assert tune(study, "--resume", "--overwrite") == ExitCode.USAGE
    assert (study / REPORT).read_bytes() == before


def test_a_study_begun_anew_does_not_lie_beside_the_report_of_the_old_one(study, tmp_path, monkeypatch):
    folder = tmp_path / "anew"
    shutil.copytree(study, folder)

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tamiyo_train.tuning.tune.jobs.done", interrupted)
    assert tune(folder, "--overwrite") == 130
    assert [path.name for path in folder.iterdir()] == [".work"]


def test_a_study_is_not_gone_on_with_under_other_settings(study, capsys):
    assert tune(study, "--resume", "--seed", "1") == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "seed" in err and "--overwrite" in err


def test_outcomes_of_other_code_are_not_mixed_with_those_of_this(study, tmp_path, capsys):
    folder = tmp_path / "old"
    shutil.copytree(study, folder)
    settings = folder / ".work" / "settings.json"
    kept = json.loads(settings.read_text())
    kept["versions"]["files of tamiyo"] = "0" * 64
    settings.write_text(json.dumps(kept))
    assert tune(folder, "--resume") == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "files of tamiyo" in err and "--overwrite" in err


def test_taken_up_again_without_any_setting_it_goes_on_as_it_was_begun(study, tmp_path, capsys):
    before = (study / REPORT).read_bytes()
    command = ["train", "tune-reward", str(study), "--resume", "--workers", "1"]
    assert main([*command, "--trials", "12", "--json"]) == ExitCode.OK
    assert (study / REPORT).read_bytes() == before
    capsys.readouterr()
    more = tmp_path / "more"
    shutil.copytree(study, more)
    assert main(["train", "tune-reward", str(more), "--resume", "--trials", "14", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["trials"] == 14


def test_a_study_played_on_a_gpu_is_searched_further_where_there_is_none_but_not_played(
    study, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tmp_path / "gpu"
    shutil.copytree(study, folder)
    settings = folder / ".work" / "settings.json"
    settings.write_text(settings.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    work = Work(folder)
    for gate in ("0.001", "0.01", "0.1"):  # a GPU plays all draws in one job
        parts = [work.kept(f"outcomes-spirals-{draw}-{gate}", Outcomes) for draw in range(6)]
        keep(work.path(f"outcomes-spirals-0-{gate}"), joined([part for part in parts if part is not None]))
    work.release()
    command = ["train", "tune-reward", str(folder), "--resume", "--workers", "1", "--trials", "12"]
    assert main(command) == ExitCode.OK
    assert (folder / REPORT).read_bytes() == (study / REPORT).read_bytes()
    work.path("outcomes-spirals-0-0.01").unlink()
    assert main(command) == ExitCode.USAGE
    assert "no CUDA device" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_played_and_writes_nothing(tmp_path, capsys):
    folder = tmp_path / "r"
    arguments = ["train", "tune-reward", str(folder), "--dry-run", "--hosts", "9"]
    assert main([*arguments, "--json"]) == ExitCode.OK
    plan = json.loads(capsys.readouterr().out)
    levels = sum(len(FAMILIES[name].training) for name in FAMILIES)
    assert sum(plan["episodes"].values()) == levels * 9 * plan["habits"] * plan["gates"]
    assert plan["settings"]["profiles"] == list(PROFILES) and plan["settings"]["families"] == list(FAMILIES)
    assert main(arguments) == ExitCode.OK
    out = capsys.readouterr().out
    assert "spirals" in out and max(map(len, out.splitlines()[1:])) <= 100
    for options, hosts in (["--smoke"], 6), (["--smoke", "--hosts", "7"], 7), ([], 9):
        assert main(["train", "tune-reward", str(folder), "--dry-run", "--json", *options]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out)["settings"]["hosts"] == hosts
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--families", "spirlas"], ExitCode.USAGE, "did you mean spirals"),
        (["--profiles", "cortex-m44"], ExitCode.USAGE, "cortex-m4"),
        (["--families", ","], ExitCode.USAGE, "families"),
        (["--families", "spirals,imu,spirals"], ExitCode.USAGE, "once each"),
        (["--profiles", "cortex-m4,cortex-m4"], ExitCode.USAGE, "once each"),
        (["--device", "tpu"], ExitCode.USAGE, "cpu or cuda"),
        (["--resume"], ExitCode.USAGE, "no study"),
    ],
)
def test_bad_input_is_told_before_any_work(options, code, words, tmp_path, capsys):
    assert main(["train", "tune-reward", str(tmp_path / "r"), "--workers", "1", *options]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_file_is_not_taken_for_a_folder(tmp_path, capsys):
    (tmp_path / "r").write_text("")
    assert tune(tmp_path / "r") == ExitCode.USAGE
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--resume"], ["--overwrite"]])
def test_unfinished_work_of_another_kind_is_left_alone(options, tmp_path, capsys):
    work = Work(tmp_path / "r")
    work.begin({"config": {"task": "digits"}})
    work.release()
    assert tune(tmp_path / "r", *options) == ExitCode.USAGE
    assert "no study of weights" in capsys.readouterr().err
    assert settings_of(tmp_path / "r")["config"] == {"task": "digits"}


def test_without_optuna_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "tamiyo_train.tuning.study", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune(tmp_path / "r") == ExitCode.MISSING
    assert "tamiyo-edge[tune]" in capsys.readouterr().err
