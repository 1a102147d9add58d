"""``tamiyo run`` on boards that are slow, fed by a battery, or faulty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RUN = ("--device", "simulated", "--no-policy", "--json")


def test_a_brown_out_ends_one_start_and_the_next_goes_on_with_what_is_left(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("run", own_bundle, *RUN, "--samples", 300, "--fault", "brown-out@10s+2s?boot_s=5")
    assert outcome.code == 0
    data = json.loads(outcome.out)
    (restart,) = data["restarts"]
    assert (restart["why"], restart["at_s"], restart["back_s"]) == ("outage", 10.0, 12.0)
    assert restart["again_s"] == pytest.approx(17.0)
    assert restart["samples"] in (100, 101)
    assert restart["samples"] + restart["missed"] + data["samples"] == 300
    assert restart["missed"] == pytest.approx(70, abs=1)
    assert restart["boot_uj"] > 0


def test_a_second_brown_out_while_the_board_boots_makes_it_boot_again(tamiyo: Any, own_bundle: Path) -> None:
    faults = ("--fault", "brown-out@10s+2s?boot_s=20", "--fault", "brown-out@15s+2s?boot_s=20")
    outcome = tamiyo("run", own_bundle, *RUN, "--samples", 600, *faults)
    assert outcome.code == 0, outcome.err
    (restart,) = json.loads(outcome.out)["restarts"]
    assert restart["again_s"] == pytest.approx(37.0, abs=1e-3)


def test_people_are_told_of_it_too(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo(
        *("run", own_bundle, "--device", "simulated"), "--samples", 60, "--fault", "brown-out@1s+2s?boot_s=1"
    )
    assert "power lost       outage at 1.0 s, power again at 3.0 s, works again at 4.0 s (simulated)" in outcome.out
    assert "came meanwhile" in outcome.out


@pytest.mark.broker
def test_what_was_in_memory_is_lost_and_the_ledger_balances_for_both_starts(
    tamiyo: Any, own_bundle: Path, tmp_path: Path
) -> None:
    outcome = tamiyo(
        *("run", own_bundle, *RUN, "--samples", 400, "--broker", "embedded", "--state-dir", tmp_path / "state"),
        *("--fault", "brown-out@20s+2s?boot_s=5"),
    )
    assert outcome.code == 0, outcome.err
    data = json.loads(outcome.out)
    assert [entry["boot"].partition(".")[0] for entry in data["ledger"]] == ["1", "2"]
    assert all(entry["balanced"] for entry in data["ledger"])
    assert data["telemetry"]["delivered"]


def test_a_battery_that_is_empty_for_good_ends_the_run(tamiyo: Any, own_bundle: Path) -> None:
    device = "simulated?battery=li-ion-18650&charge=.02&supply_v=4"
    outcome = tamiyo("run", own_bundle, "--device", device, "--samples", 400, "--period-ms", 60_000)
    assert outcome.code == 2
    assert "the battery does not recover" in outcome.err
    assert "hint: a larger battery" in outcome.err


def test_a_drifting_clock_takes_as_many_samples_in_its_own_time(tamiyo: Any, own_bundle: Path) -> None:
    data = json.loads(tamiyo("run", own_bundle, *RUN, "--samples", 50, "--fault", "clock-drift?ppm=5000").out)
    assert data["samples"] == 50
    assert data["duration_s"] == pytest.approx(4.9, abs=0.11)


def test_a_sensor_fault_is_seen_in_what_the_board_answers(tamiyo: Any, own_bundle: Path) -> None:
    good, bad = (
        json.loads(tamiyo("run", own_bundle, *RUN, *more).out)["accuracy"] for more in ((), ("--fault", "sensor:dark"))
    )
    assert good == 1.0
    assert bad < 0.7


def test_flipped_bits_are_seen_in_what_the_board_answers_and_reported_by_nobody(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("run", own_bundle, *RUN, "--seed", 3, "--fault", "bit-flips?bits=400")
    data = json.loads(outcome.out)
    assert outcome.code == 0
    assert data["accuracy"] < 1.0
    assert data["failures"] == 0


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--fault", "brownout@1s+1s"), "unknown fault 'brownout'", "brown-out"),
        (("--fault", "brown-out"), "a brown-out needs a start and a length", "brown-out@10s+2s"),
        (("--device", "simulated?mhz=600"), "names no operating points", "leave out mhz"),
        (("--device", "simulated?speed=600"), "unknown option of simulated 'speed'", "mhz"),
        (("--device", "host", "--fault", "clock-drift?ppm=5"), "faults are for simulated boards", "--device simulated"),
    ],
)
def test_mistakes_end_with_exit_2_and_what_is_right(tamiyo: Any, own_bundle: Path, arguments, message, hint) -> None:
    outcome = tamiyo("run", own_bundle, "--device", "simulated", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert hint in outcome.err


def test_a_dry_run_shows_the_faults(tamiyo: Any, own_bundle: Path) -> None:
    plan = json.loads(tamiyo("run", own_bundle, *RUN, "--dry-run", "--fault", "clock-drift?ppm=5").out)
    assert plan["faults"] == ["clock-drift?ppm=5"]


def test_a_dry_run_says_what_a_mission_leaves_for_inferences(tamiyo: Any, own_bundle: Path) -> None:
    asked = ("run", own_bundle, "--device", "simulated", "--mission-hours", 100, "--battery-mwh", 2000, "--dry-run")
    mission = json.loads(tamiyo(*asked, "--json").out)["mission"]
    assert mission == {
        "hours": 100.0,
        "battery_mwh": 2000.0,
        "charge": None,
        "mean_mw": 18.0,
        "waiting_mw": 10.0,
        "inferences_mw": pytest.approx(8.0 / 0.9, abs=1e-3),
    }
    assert "'inferences_mw': 8.889" in tamiyo(*asked).out
    assert json.loads(tamiyo("run", own_bundle, "--device", "simulated", "--dry-run", "--json").out)["mission"] is None


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--mission-hours", 24), 2, "both its length and its battery"),
        (("--battery-mwh", 24), 2, "both its length and its battery"),
        (("--mission-hours", 0, "--battery-mwh", 24), 2, "must be above 0"),
        (("--mission-hours", 24, "--battery-mwh", "inf"), 2, "--battery-mwh"),
        (("--mission-hours", 1000, "--battery-mwh", 24), 3, "does not last 1000 h even if nothing is run"),
    ],
)
def test_a_mission_that_cannot_be_meant_is_told_before_anything_runs(
    tamiyo: Any, own_bundle: Path, options: tuple[object, ...], code: int, said: str
) -> None:
    outcome = tamiyo("run", own_bundle, "--device", "simulated", "--dry-run", *options)
    assert outcome.code == code
    assert said in outcome.err
    assert "hint: " in outcome.err


@pytest.mark.parametrize("said", [("--mission-hours", 24), ("--mission-hours=24",)])
def test_a_mission_would_begin_anew_with_every_start_of_a_supervised_run(
    tamiyo: Any, own_bundle: Path, said: tuple[object, ...]
) -> None:
    outcome = tamiyo("run", own_bundle, *said, "--battery-mwh", 8000, "--supervise")
    assert outcome.code == 2
    assert "every start would count the hours from itself" in outcome.err


def test_a_mission_goes_on_after_a_loss_of_power_with_the_time_that_is_left(tamiyo: Any, own_bundle: Path) -> None:
    run = (
        *("run", own_bundle, "--device", "simulated", "--period-ms", 10, "--samples", 8000, "--json"),
        *("--fault", "brown-out@10s+2s", "--energy-burst-mj", 0),
    )

    def spent_uj(*mission: object) -> float:
        data = json.loads(tamiyo(*run, *mission).out)
        assert len(data["restarts"]) == 1
        return float(data["energy_uj"])  # since the restart

    free, all_along = spent_uj(), spent_uj("--mission-hours", 80 / 3600, "--battery-mwh", 0.6)
    until_60_s = spent_uj("--mission-hours", 60 / 3600, "--battery-mwh", 0.45)  # the same power, for less long
    assert all_along < 0.6 * free
    assert all_along + 0.2 * free < until_60_s < free


def test_a_mission_that_has_become_hopeless_is_no_reason_to_end_a_run_that_has_begun(
    tamiyo: Any, own_bundle: Path
) -> None:
    outcome = tamiyo(  # at the start the battery gives 10.05 mW, and waiting takes 10 mW
        *("run", own_bundle, "--device", "simulated?battery=li-ion-18650&charge=.101&supply_v=4", *RUN[2:]),
        *("--mission-hours", 12 / 10.05, "--battery-mwh", 12_000),
        *("--samples", 400, "--fault", "brown-out@10s+2s?boot_s=5"),
    )
    assert outcome.code == 0, outcome.err
    data = json.loads(outcome.out)
    assert len(data["restarts"]) == 1
    assert data["samples"] > 200
    assert data["inferences"] < data["samples"]
