"""``tamiyo train --data``: a run on a user's files from the command line to evaluation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tamiyo_runtime.cli.main import main
from tamiyo_runtime.cli.train_cmd import FORMATS
from tamiyo_runtime.contracts.errors import ExitCode, InputError
from tamiyo_train.checkpoint import load_run
from tamiyo_train.data import task_of
from tamiyo_train.handover import pieces
from tamiyo_train.presets import preset
from tamiyo_train.same_data import bound, on_same_data
from tamiyo_train.tasks.files import formats

ROWS = [f"{k % 7},{k * k % 11},{'on' if k * k % 11 > 4 else 'off'}" for k in range(300)]


def table(folder: Path, rows: list[str] = ROWS) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join(["a,b,label", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    arguments = ["train", str(folder / "run"), "--data", str(table(folder)), "--smoke", "--growth", "kasmina"]
    assert main([*arguments, "--workers", "1"]) == ExitCode.OK
    return folder / "run"


def test_a_run_knows_whose_data_it_was_trained_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = load_run(run).record
    assert record.task == "csv"
    assert record.config["data"] == str(run.parent / "mine.csv")
    assert main(["evaluate", str(run), "--json"]) == ExitCode.OK
    measured = json.loads(capsys.readouterr().out)["configurations"]
    assert [c["test_accuracy"] for c in measured] == [c.test_accuracy for c in record.configurations]
    assert pieces(load_run(run)).classes == ("off", "on")


def test_files_that_changed_since_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.parent / "mine.csv"
    before = path.read_bytes()
    try:
        table(run.parent, [*ROWS, "3,3,on"])
        from tamiyo_train.data import task_of

        task_of.cache_clear()
        with pytest.raises(InputError, match="has changed since"):
            pieces(load_run(run))
    finally:
        path.write_bytes(before)
        task_of.cache_clear()


def test_the_next_command_of_a_dry_run_is_told_what_would_be_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(tmp_path / "r"), "--data", str(table(tmp_path)), "--dry-run", "--json"]
    assert main(arguments) == ExitCode.OK
    config = json.loads(capsys.readouterr().out)["config"]
    assert (config["task"], config["host"]) == ("csv", preset("clusters").host)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "digits"], "task 'digits' makes its own data"),
        (["--task", "cvs"], "unknown format of data 'cvs'"),
        (["--task", "idx"], "no data of format 'idx'"),
        (["--host", "conv1d"], "host 'conv1d' takes sequences"),
    ],
)
def test_names_that_do_not_go_with_the_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    given = ["train", str(tmp_path / "r"), "--data", str(table(tmp_path)), *arguments, "--dry-run"]
    assert main(given) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_unfit_files_are_one_error_and_leave_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, [*ROWS, "nan,1,on"])
    assert main(["train", str(tmp_path / "r"), "--data", str(path), "--workers", "1"]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert f"{path}, line 302: NaN or infinity in column 'a'" in error
    assert "Traceback" not in error
    assert not (tmp_path / "r").exists()


def test_a_job_is_refused_where_the_files_are_missing_or_others(tmp_path: Path) -> None:
    path = table(tmp_path)
    job, before = bound(list, "csv", str(path))
    assert job(*before, "abc") == ["a", "b", "c"]
    assert bound(list, "digits", None) == (list, ())
    table(tmp_path, ["9,9,on", *ROWS[1:]])
    task_of.cache_clear()
    with pytest.raises(InputError, match="is not the same") as caught:
        job(*before, "abc")
    assert "every machine" in str(caught.value.hint)
    with pytest.raises(InputError, match=r"gone\.csv"):
        on_same_data(before[0], "csv", str(tmp_path / "gone.csv"), list, "abc")


def test_help_names_the_formats_there_are_and_each_has_a_preset(tmp_path: Path) -> None:
    assert ", ".join(formats.names()) == FORMATS
    assert preset("csv", str(table(tmp_path))).host == preset("clusters").host
