from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from device_profiles.loader import profile_ids
from tamiyo_runtime.cli.main import main


def test_show_prints_every_figure_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "coral-usb"]) == 0
    out = capsys.readouterr().out
    assert "accelerator.floor_us" in out
    assert "fitted" in out
    assert "coral.ai, Edge TPU performance benchmarks" in out


def test_show_as_json_holds_value_interval_unit_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "coral-usb", "--json"]) == 0
    figure = json.loads(capsys.readouterr().out)["figures"]["accelerator.floor_us"]
    assert (figure["value"], figure["low"], figure["high"], figure["unit"]) == (1800, 1400, 2300, "us")
    assert figure["citation"]["basis"] == "fitted"
    assert figure["meaning"]


def test_show_without_an_id_lists_the_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "--json"]) == 0
    assert [p["id"] for p in json.loads(capsys.readouterr().out)] == list(profile_ids())


def test_check_passes_a_sound_file_and_names_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(resources.files("device_profiles").joinpath("data/x86-64.toml").read_bytes())
    assert main(["profile", "check", str(path)]) == 0
    assert f"tamiyo profile show {path}" in capsys.readouterr().out


def test_check_fails_with_exit_2_and_names_file_key_and_legal_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board.toml"
    text = resources.files("device_profiles").joinpath("data/x86-64.toml").read_text()
    path.write_text(text.replace("dispatch_us", "dispatch_uss"))
    assert main(["profile", "check", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"{path}: compute: unknown key 'dispatch_uss'" in err
    assert "did you mean dispatch_us or operator_us? legal here: clock_mhz, dispatch_us, operator_us" in err


def test_an_unknown_profile_exits_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "coral"]) == 2
    assert "coral-usb" in capsys.readouterr().err
