"""``tamiyo train`` and ``tamiyo evaluate`` as a user meets them."""

from __future__ import annotations

import json

import pytest

from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import ExitCode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["train", str(folder), "--smoke", "--growth", "kasmina", "--workers", "1"]) == ExitCode.OK
    return folder


def test_train_writes_a_run_and_prints_what_to_do_next(folder, capsys):
    assert main(["evaluate", str(folder)]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "c0000" in out
    assert "static twin" in out
    assert f"tamiyo export {folder}" in out


def test_evaluate_measures_what_training_recorded(folder, capsys):
    assert main(["evaluate", str(folder), "--json"]) == ExitCode.OK
    measured = json.loads(capsys.readouterr().out)
    recorded = json.loads((folder / "run.json").read_text())["record"]["configurations"]
    assert [c["test_accuracy"] for c in measured["configurations"]] == [c["test_accuracy"] for c in recorded]


def test_a_run_that_is_there_is_not_replaced_unasked(folder, capsys):
    before = (folder / "run.json").read_bytes()
    assert main(["train", str(folder), "--smoke", "--workers", "1"]) == ExitCode.USAGE
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "run.json").read_bytes() == before


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    assert main(["train", str(tmp_path / "r"), "--dry-run", "--json", "--steps", "160"]) == ExitCode.OK
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["final"]["steps"] == 160
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(["--task", "digit"], "digits"), (["--growth", "polcy"], "policy"), (["--profile", "coral"], "coral-usb")],
)
def test_a_misspelt_name_gets_the_near_one_and_exit_2(tmp_path, capsys, arguments, near):
    assert main(["train", str(tmp_path / "r"), *arguments]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert near in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_missing_run_is_one_line_and_a_hint(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "none")]) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2
