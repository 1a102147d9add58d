from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from device_profiles import errors_table
from device_profiles.loader import load_profile, profile_ids
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
    assert (figure["value"], figure["low"], figure["high"], figure["unit"]) == (1655, 1400, 2300, "us")
    assert figure["citation"]["basis"] == "fitted"
    assert figure["meaning"]


def test_show_without_an_id_lists_the_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "--json"]) == 0
    assert [p["id"] for p in json.loads(capsys.readouterr().out)] == list(profile_ids())


@pytest.mark.parametrize("name", [None, *profile_ids()])
def test_what_show_prints_fits_100_columns(name: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", *([name] if name else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert any("Next:" in line for line in lines)


def test_show_says_how_far_off_a_profile_was_found_and_how_networks_are_compiled_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["profile", "show", "cortex-m4"]) == 0
    out = capsys.readouterr().out
    for block in load_profile("cortex-m4").validation:
        assert errors_table.found(block) in out
    assert "operator table  tflite-micro" in out
    assert main(["profile", "show", "raspberry-pi-zero-2"]) == 0
    assert errors_table.UNCHECKED in capsys.readouterr().out


def test_the_list_holds_each_stated_interval_and_the_error_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for name in profile_ids():
        assert errors_table.interval(load_profile(name)) in lines[name]
    assert errors_table.found(load_profile("cortex-m7").validation[0]) in lines["cortex-m7"]
    assert "not checked" in lines["raspberry-pi-zero-2"]
    assert main(["profile", "show", "--json"]) == 0
    listed = {item["id"]: item for item in json.loads(capsys.readouterr().out)}
    assert listed["cortex-m4"]["relative_error"] == 0.25
    assert listed["cortex-m4"]["validation"][0]["held_out"] is True


def test_check_says_what_it_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "check", "cortex-m4"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("figures", "physics", "tflite-int8, tflite-micro", "validation: 5"))
    assert main(["profile", "check", "cortex-m4", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["ok"], record["id"], record["validation"], len(record["checked"])) == (True, "cortex-m4", 5, 4)


@pytest.mark.parametrize(
    ("old", "new", "path", "hint"),
    [
        ('["tflite-int8"]', '["tflite-int9"]', "export.variants: 'tflite-int9' is not one of", "tflite-int8"),
        ('"tflite-micro"', '"tflite-mikro"', "export.operator_table: 'tflite-mikro' is not one of", "tflite-micro"),
        ('layout = "segments"', 'layout = "segment"', "export.layout: 'segment' is not one of", "segments"),
        ('layout = "segments"', 'layout = "segments"\ncompiler = "vella"', "export.compiler: 'vella'", "vela"),
    ],
)
def test_check_refuses_names_that_the_exporters_do_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, path: str, hint: str
) -> None:
    board = tmp_path / "board.toml"
    text = resources.files("device_profiles").joinpath("data/cortex-m4.toml").read_text()
    assert old in text
    board.write_text(text.replace(old, new))
    assert main(["profile", "check", str(board)]) == 2
    err = capsys.readouterr().err
    assert path in err
    assert hint in err


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
    assert "did you mean dispatch_us or operator_us? legal here: clock_mhz, dispatch_us" in err


def test_an_unknown_profile_exits_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "coral"]) == 2
    assert "coral-usb" in capsys.readouterr().err


def test_the_file_of_a_profile_is_printed_as_it_is_to_start_a_board_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "show", "cortex-m4", "--toml"]) == 0
    board = tmp_path / "my-board.toml"
    board.write_text(capsys.readouterr().out)
    assert main(["profile", "check", str(board)]) == 0
    out = capsys.readouterr().out
    assert load_profile("cortex-m4").sha256 in out  # byte for byte
    assert "note:" not in out


def test_a_copy_that_was_changed_and_kept_its_id_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "my-board.toml"
    text = resources.files("device_profiles").joinpath("data", "cortex-m4.toml").read_text()
    board.write_text(text.replace("revision = 3", "revision = 4"))
    assert main(["profile", "check", str(board)]) == 0
    assert "note: 'cortex-m4' is also the id of a profile that comes with tamiyo" in capsys.readouterr().out
    board.write_text(text.replace('id = "cortex-m4"', 'id = "my-board"'))
    assert main(["profile", "check", str(board)]) == 0
    assert "note:" not in capsys.readouterr().out
