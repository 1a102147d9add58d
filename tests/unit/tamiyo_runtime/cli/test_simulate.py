from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from device_profiles.loader import read_profile
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli import simulate_files, simulate_time
from tamiyo_runtime.cli.main import main

EXAMPLES = Path(__file__).parents[4] / "examples"
SMALL = """\
name = "small"
days = 0.25
[[devices]]
name = "soil"
count = 20
link = "lora-eu868"
placement = { radius_m = 2000 }
workload = { report_period_s = 900, payload_bytes = 24 }
battery = { capacity_mah = 2600 }
[[devices]]
name = "gate"
count = 2
link = "lte-m"
workload = { report_period_s = 900 }
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_scenario_is_told_in_lines_that_all_say_simulated(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(small)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "small: 22 devices for 0.25 days, seed 0 (every figure simulated)"
    assert "480" in next(line for line in lines if line.startswith("soil "))
    paragraphs = re.split(r"\n(?=\S)", out)  # a line and what it is wrapped into
    for label in ("packets", "airtime", "energy", "gateways"):
        told = [text for text in paragraphs if text.startswith(label)]
        assert told
        assert all("(simulated)" in text for text in told)
    assert lines[-1] == f"Next:  tamiyo simulate {small} --out DIR   |   tamiyo simulate plan {small} --group soil"
    assert len(lines) < 30
    assert "simulate small" in err


def test_without_a_file_devices_stand_on_a_disc_and_the_output_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--link", "lora-eu868", "--fleet", "50", "--days", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "fleet: 50 devices for 0.5 days" in out
    assert "a disc of 2 km round one gateway" in out
    assert "a battery of 2400 mAh at 3.6 V" in out
    asked = "--link lora-eu868 --fleet 50"
    assert out.endswith(f"Next:  tamiyo simulate {asked} --days 0.5 --out DIR   |   tamiyo simulate plan {asked}\n")
    assert main(["simulate", "--link", "lora-us915", "--fleet", "5", "--days", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scenario"]["devices"][0]["workload"]["payload_bytes"] == 11


def test_the_same_seed_gives_the_same_json_whatever_the_workers(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for options in (["--seed", "4"], ["--seed", "4", "--workers", "2"], ["--seed", "5"]):
        assert main(["simulate", str(small), "--json", *options]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != told[2]
    assert json.loads(told[0])["source"] == "simulated"


def test_a_folder_holds_the_summary_a_row_a_device_and_a_row_a_packet(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out"
    assert main(["simulate", str(small), "--out", str(out), "--packets"]) == 0
    assert "wrote" in capsys.readouterr().out
    devices, packets = pq.read_table(out / "devices.parquet"), pq.read_table(out / "packets.parquet")
    record = json.loads((out / "result.json").read_text())
    assert devices.num_rows == 22
    assert packets.num_rows == 480 == sum(record["groups"][0]["fates"].values())
    assert devices.schema.field("airtime_s").metadata == {b"unit": b"s", b"meaning": b"time on the air"}
    assert devices.schema.metadata[b"source"] == b"simulated"
    assert main(["simulate", str(small), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["simulate", str(small), "--out", str(out), "--overwrite"]) == 0


def test_without_pyarrow_tables_are_csv_with_absent_figures_empty(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate_files, "_arrow", lambda: None)
    assert main(["simulate", str(small), "--out", str(tmp_path / "out"), "--packets"]) == 0
    with (tmp_path / "out" / "devices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 22
    assert rows[0]["packets"] == "24"
    assert (rows[-1]["x_m"], rows[-1]["battery_days"]) == ("", "")
    with (tmp_path / "out" / "packets.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 480
    assert "simulated" in (tmp_path / "out" / "report.html").read_text()


def test_a_page_that_is_there_is_not_written_over_unasked(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("mine")
    assert main(["simulate", str(small), "--out", str(tmp_path / "out")]) == 2
    assert "report.html exists already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    elsewhere = tmp_path / "page.html"
    assert main(["simulate", str(small), "--out", str(tmp_path / "out"), "--report", str(elsewhere)]) == 0
    assert (tmp_path / "out" / "report.html").read_text() == "mine"
    assert elsewhere.exists()


def test_no_battery_is_promised_longer_than_one_ages(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(SMALL.replace("capacity_mah = 2600", "capacity_mah = 9000, self_discharge_a_year = 0"))
    assert main(["simulate", str(small)]) == 0
    soil = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("soil "))
    assert soil.endswith("over 20 years")
    small.write_text(SMALL.replace("capacity_mah = 2600", "capacity_mah = 100"))
    assert main(["simulate", str(small)]) == 0
    soil = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("soil "))
    assert re.search(r"\d (days|years)$", soil)
    assert "over" not in soil


def test_a_page_does_not_take_the_place_of_the_scenario(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(small), "--report", str(small), "--overwrite"]) == 2
    assert "would replace the scenario" in capsys.readouterr().err
    assert small.read_text() == SMALL


def test_a_group_that_has_nothing_to_send_lost_nothing_and_says_so(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small.write_text(SMALL.replace("report_period_s = 900, p", "report_period_s = 1e9, p"))
    assert main(["simulate", str(small)]) == 0
    assert "soil: nothing sent" in capsys.readouterr().out


def test_a_run_that_fails_leaves_no_file(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulators.fleet.engine.run", fails)
    assert main(["simulate", str(small), "--out", str(tmp_path / "out"), "--packets"]) == 130
    assert not list((tmp_path / "out").iterdir())


def test_a_dry_run_says_what_is_legal_and_what_it_takes_and_runs_nothing(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(small), "--dry-run", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "legal      yes" in out
    assert "8.3 s" in out  # the shortest legal interval of DR5 and 24 bytes
    assert not (tmp_path / "out").exists()
    assert main(["simulate", str(small), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["groups"][0]["data_rates"]["DR5"]["devices"] == 20
    assert plan["messages"] == 528


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (("count = 20", "count = 0"), "small.toml:5: devices[0].count", ""),
        (("radius_m", "radus_m"), "small.toml:7: devices[0].placement.radus_m", "radius_m"),
        (
            ("report_period_s = 900, p", "report_period_s = 3, p"),
            "small.toml:8: devices[0].workload.report_period_s",
            "8.3 s",
        ),
        (('"lte-m"', '"lte-x"'), "small.toml:13: devices[1].link", "lte-m"),
        (
            ("radius_m = 2000", 'kind = "file", file = "no.csv"'),
            "small.toml:7: devices[0].placement.file: positions not found",
            "path",
        ),
        (('name = "soil"', 'name = "soil"\nprofile = "no.toml"'), "small.toml:5: devices[0].profile: cannot read", ""),
        (('"lte-m"\nworkload = { report_period_s = 900', '"lte-m"\nworkload = { report_period_s = 1e-6'), "memory", ""),
        (
            ("report_period_s = 900, p", "report_period_s = 900, inference_period_s = 9, p"),
            "small.toml:8: devices[0].workload.inference_period_s: nothing says",
            "network",
        ),
        (("radius_m = 2000", 'kind = "disc"'), "small.toml:7: devices[0].placement.radius_m: is missing", ""),
    ],
)
def test_bad_input_is_one_error_with_file_and_line_and_exit_code_2(
    small: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], says: str, hint: str
) -> None:
    assert change[0] in SMALL
    small.write_text(SMALL.replace(*change))
    assert main(["simulate", str(small)]) == 2
    err = capsys.readouterr().err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert says in err
    assert hint in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing says what to simulate"),
        (["--link", "lora-eu868"], "nothing says"),
        (["--link", "lora-eu868", "--fleet", "0"], "--fleet"),
        (["--link", "ethernet", "--fleet", "5"], "--link: unknown link of a fleet 'ethernet'"),
        (["--link", "lora-eu868", "--fleet", "5", "--days", "-1"], "error: --days: -1.0 days"),
        (["--link", "lora-eu868", "--fleet", "99999999"], "error: --fleet: 99999999 devices are more"),
        ([str(EXAMPLES / "orchard.toml"), "--days", "nan"], "error: --days: nan days"),
        (["--link", "lora-eu868", "--fleet", "5", "--packets"], "--packets"),
        (["--link", "lora-eu868", "--fleet", "5", "--packets", "--out", "x", "--workers", "2"], "--packets"),
        (["none.toml"], "none.toml"),
        (["none.toml", "--fleet", "5"], "without a file"),
    ],
)
def test_options_that_say_too_little_or_too_much_are_refused(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *options]) == 2
    assert says in capsys.readouterr().err


def test_a_bundles_configurations_are_what_inferences_cost(
    own_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = read_profile("cortex-m4").decode().replace('id = "cortex-m4"', 'id = "test-board"')
    (tmp_path / "board.toml").write_text(board)
    path, infers = tmp_path / "fleet.toml", SMALL.replace("s = 900, p", "s = 900, inference_period_s = 60, p")
    given = 'name = "soil"\nnetwork = "tiny.tamiyo"\n'
    path.write_text(infers.replace('name = "soil"\n', f'{given}profile = "board.toml"\n'))
    assert main(["simulate", str(path), "--dry-run", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)["groups"][0]["inference"]
    runnables = Bundle.open(own_bundle).manifest.variants[0].runnables
    assert cost["configuration"] == max(runnables, key=lambda one: one.accuracy or 0).configuration
    assert main(["simulate", str(path), "--dry-run"]) == 0
    assert f"inference  soil: one of {cost['configuration']} every 60 s" in capsys.readouterr().out
    assert main(["simulate", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["inference"][0]["energy_uj"]["value"] == cost["energy_uj"]["value"]
    path.write_text(infers.replace('name = "soil"\n', given))
    assert main(["simulate", str(path)]) == 2
    assert "fleet.toml:3: devices[0].profile" in capsys.readouterr().err
    path.write_text(infers.replace('name = "soil"\n', given.replace("tiny", "none")))
    assert main(["simulate", str(path)]) == 2
    assert "fleet.toml:5: devices[0].network: bundle not found: " in capsys.readouterr().err
    path.write_text(infers.replace('name = "soil"\n', 'name = "soil"\nmacs = 90_000_000_000\nparams = 1\n'))
    assert main(["simulate", str(path)]) == 2
    assert "fleet.toml:10: devices[0].workload.inference_period_s: an inference takes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["orchard", "city"])
def test_the_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(EXAMPLES / f"{name}.toml"), "--days", "0.2"]) == 0
    assert "every figure simulated" in capsys.readouterr().out


def test_a_run_that_takes_long_says_so_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("simulate", "--link", "lora-eu868", "--fleet", "3")
    assert main([*quick]) == 0
    assert "takes about" not in capsys.readouterr().err
    long = ("simulate", "--link", "lora-eu868", "--fleet", "40000", "--days", "1000", "--dry-run")
    assert main([*long]) == 0
    assert "time       about 16 min (estimate, within a factor of 3" in capsys.readouterr().out
    monkeypatch.setattr(simulate_time, "LONG_S", 0.0)  # what follows is the same for a run of hours
    assert main([*quick, "--sample", "2", "--workers", "2"]) == 0
    err = capsys.readouterr().err
    assert "with 2 workers (estimate, within a factor of 3 on a machine of today), then 100 ms or more" in err
    assert "fewer --days" in err
