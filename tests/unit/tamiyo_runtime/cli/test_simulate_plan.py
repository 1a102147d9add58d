"""``tamiyo simulate plan``: a plan, exit 3 with what would have to give where there is none, exit 2 for nonsense."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from simulators.fleet.legality import check_legal
from simulators.fleet.reading import parse_scenario
from simulators.fleet.resolve import resolve
from tamiyo_runtime.cli.main import main

PLAN = ["simulate", "plan"]
FEW = [*PLAN, "--fleet", "5", "--sleep-mw", "0.05"]
ORCHARD = """
name = "orchard"
seed = 7
[[devices]]
name = "soil"
count = 20
link = "lora-eu868"
data_rate = 5
placement = { kind = "disc", radius_m = 2000 }
workload = { report_period_s = 600, payload_bytes = 24, inference_period_s = 60 }
latency_ms = 4.0
energy_uj = 160.0
sleep_mw = 0.05
battery = { capacity_mah = 2400 }
[[devices]]
name = "meters"
count = 5
link = "nb-iot"
workload = { report_period_s = 3600 }
"""


@pytest.fixture
def orchard(tmp_path: Path) -> Path:
    path = tmp_path / "orchard.toml"
    path.write_text(ORCHARD)
    return path


def parsed(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, dict[str, object]]:
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_plan_is_told_with_what_limits_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--years", "2"]) == 0
    out = capsys.readouterr().out
    assert "recommended      a report every 45 s by SF7/250" in out
    assert "limited by       battery" in out
    scenario = parse_scenario(out.partition("a file that says\n")[2], name="fleet.toml", folder=Path())
    (group,) = scenario.devices
    assert (group.count, group.data_rate, group.workload.report_period_s) == (5, 6, 45)
    assert (group.workload.payload_bytes, group.sleep_mw) == (24, 0.05)
    check_legal(resolve(scenario))


def test_a_plan_of_a_network_that_assigns_rates_is_saved_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--link", "nb-iot", "--battery-mah", "9000"]) == 0
    text = capsys.readouterr().out.partition("a file that says\n")[2]
    assert "data_rate" not in text
    (group,) = parse_scenario(text, name="fleet.toml", folder=Path()).devices
    assert group.battery is not None
    assert (group.link, group.battery.capacity_mah) == ("nb-iot", 9000)


def test_the_same_as_json_holds_ways_limits_and_alternatives(capsys: pytest.CaptureFixture[str]) -> None:
    code, data = parsed(capsys, [*FEW, "--years", "2", "--update-kb", "17"])
    assert code == 0
    assert data["schema"] == "tamiyo.fleet-plan/1"
    assert data["simulated"] is True
    recommended, update = data["recommended"], data["update"]
    assert isinstance(recommended, dict)
    assert recommended["binding"] == "battery"
    assert isinstance(update, dict)
    assert update["sent"] is False


def test_goals_that_nothing_meets_end_with_exit_3_and_the_nearest_that_would(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*FEW, "--years", "60"]) == 3
    taken = capsys.readouterr()
    assert "no plan meets the goals" in taken.err
    wanted = taken.err.split("--years ")[1].split(",")[0]
    assert main([*FEW, "--years", wanted]) == 0


def test_json_of_goals_that_nothing_meets_is_whole_and_ends_with_exit_3(capsys: pytest.CaptureFixture[str]) -> None:
    code, data = parsed(capsys, [*FEW, "--years", "60"])
    assert code == 3
    assert data["recommended"] is None
    assert data["nearest"]


def test_a_board_whose_rest_takes_the_battery_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAN, "--fleet", "5", "--years", "2", "--profile", "raspberry-pi-zero-2"]) == 3
    out = capsys.readouterr().out
    assert "of the energy is that of the board asleep" in out
    assert "--sleep-mw" in out


def test_a_scenario_is_planned_for_one_of_its_groups(orchard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAN, str(orchard), "--group", "soil", "--years", "2", "--every-s", "900"]) == 0
    out = capsys.readouterr().out
    assert "a report every 15 min" in out
    assert "limited by       what was asked for" in out
    assert "as described" in out
    assert f"give soil report_period_s = 900 and data_rate = 5, and tamiyo simulate {orchard}" in out
    assert main([*PLAN, str(orchard), "--group", "soil", "--every-s", "900", "--seed", "8", "--json"]) == 0
    other = capsys.readouterr().out
    orchard.write_text(ORCHARD.replace("seed = 7", "seed = 8"))
    assert main([*PLAN, str(orchard), "--group", "soil", "--every-s", "900", "--json"]) == 0
    assert capsys.readouterr().out == other
    assert main([*PLAN, str(orchard), "--group", "meters"]) == 0
    assert "battery          from the mains; " in capsys.readouterr().out


def test_what_a_plan_leaves_out_of_its_scenario_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orchard.toml"
    path.write_text(ORCHARD.replace("payload_bytes = 24,", "payload_bytes = 24, confirmed = true,"))
    assert main([*PLAN, str(path), "--group", "soil"]) == 0
    assert "note: planned for unconfirmed reports" in capsys.readouterr().out


def test_a_cellular_plan_shows_classes_and_what_an_update_takes(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--link", "nb-iot", "--radius-m", "1500", "--battery-mah", "5000", "--update-kb", "60"]
    assert main([*FEW, *options]) == 0
    out = capsys.readouterr().out
    assert "by as the network assigns" in out
    assert "coupling loss to 144 dB" in out
    assert "of the battery" in out


def test_frames_too_small_for_an_update_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--link", "lora-us915-sf10", "--payload", "5", "--update-kb", "17"]) == 0
    assert "whose frames are too small; it needs a contact" in capsys.readouterr().out


def test_two_goals_that_would_both_have_to_give_are_not_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--years", "60", "--radius-m", "90000"]) == 3
    assert "relax two of" in capsys.readouterr().err


def test_a_bundle_brings_its_configurations_and_the_size_of_an_update(
    own_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "test-board.toml"
    profile.write_text(
        (files("device_profiles") / "data/cortex-m4.toml").read_text().replace('"cortex-m4"', '"test-board"')
    )
    code, data = parsed(capsys, [*FEW, "--bundle", str(own_bundle), "--profile", str(profile)])
    assert code == 0
    inferences, update = data["inferences"], data["update"]
    assert isinstance(inferences, list)
    assert [one["configuration"]["id"] for one in inferences] == ["c00", "c10", "c01", "c11"]
    assert isinstance(update, dict)
    assert update["size_bytes"] == own_bundle.stat().st_size
    assert main([*FEW, "--bundle", str(own_bundle), "--profile", str(profile)]) == 0
    out = capsys.readouterr().out
    assert "configuration    c11, 95.0 % accurate" in out
    assert "not sent over this link" in out


def test_a_bundle_for_another_profile_is_refused(own_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, "--bundle", str(own_bundle)]) == 2
    assert "was compiled for 'test-board'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--payload", "300"], "--payload: 300 bytes do not fit"),
        (["--link", "lorax"], "--link: unknown link of a fleet 'lorax'"),
        (["--profile", "cortex-m5"], "--profile: unknown profile 'cortex-m5'"),
        (["--battery-mah", "-1"], "--battery-mah"),
        (["--radius-m", "-1"], "--radius-m"),
        (["--infer-every-s", "10"], "--infer-every-s: nothing says what an inference costs"),
        (["--years", "0"], "--years: 0.0 years"),
        (["--delivery", "1.5"], "--delivery: 1.5"),
        (["--every-s", "90000"], "--every-s: 90000 s"),
        (["--update-kb", "0"], "--update-kb: 0 bytes are no bundle"),
        (["--update-kb", "nan"], "--update-kb: nan kB"),
        (["--group", "soil"], "--group names a group of a scenario"),
        (["--link", "nb-iot", "--fair-use"], "--fair-use: nb-iot"),
        (["--link", "nb-iot", "--radius-m", "90000"], "range of uma"),
        (["missing.toml"], "scenario not found: missing.toml"),
    ],
)
def test_what_cannot_be_is_one_clear_error(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FEW, *arguments] if "toml" not in arguments[0] else [*PLAN, *arguments]) == 2
    taken = capsys.readouterr()
    assert said in taken.err
    assert "Traceback" not in taken.err


def test_a_scenario_and_options_that_describe_a_fleet_do_not_go_together(
    orchard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PLAN, str(orchard), "--fleet", "5"]) == 2
    assert "--fleet describes a fleet, and so does" in capsys.readouterr().err
    assert main([*PLAN, str(orchard)]) == 2
    assert "2 groups" in capsys.readouterr().err
    orchard.write_text(ORCHARD.replace('kind = "disc", radius_m = 2000', 'kind = "file", file = "no.csv"'))
    assert main([*PLAN, str(orchard), "--group", "soil"]) == 2
    assert "orchard.toml:9: devices[0].placement.file: positions not found" in capsys.readouterr().err
    assert main([*PLAN, str(orchard), "--group", "soul"]) == 2
    assert "did you mean soil" in capsys.readouterr().err
