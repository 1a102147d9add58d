"""``tamiyo doctor`` tells what a board can measure and what its figures will be called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.cli import examination
from tamiyo_runtime.meters.fake import FakeBoard


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "examine", lambda: iter(()))  # imports engines in child processes: seconds


def _meters(tamiyo: Any, root: Path) -> dict[str, dict[str, str]]:
    outcome = tamiyo("doctor", "--root", root, "--json")
    assert outcome.code == 0
    return {item["figure"]: item for item in json.loads(outcome.out)["meters"]}


def test_without_a_meter_energy_is_called_analytic_and_what_is_missing_is_named(tamiyo: Any, tmp_path: Path) -> None:
    found = _meters(tamiyo, tmp_path)
    assert found["energy"]["label"] == "analytic: the profile's active power x processor time"
    assert found["energy"]["read_from"] == "no RAPL, no INA2xx found"
    assert found["slowdown"]["label"] == "taken for 1: rated speed"


def test_each_meter_found_is_listed_with_a_reading_and_its_label(tamiyo: Any, tmp_path: Path) -> None:
    fake = FakeBoard(tmp_path / "tree")
    fake.ina("ina226", power_mw=3210.0, update_interval_ms=4)
    fake.throttled(0x50002)
    fake.thermal([("cpu-thermal", 61.5)])
    fake.cpufreq(rated_mhz=1500, present_mhz=1000)
    fake.memory(total_mib=1024, available_mib=700, own_pages=10)
    found = _meters(tamiyo, fake.root)
    assert found["energy"]["now"] == "3210 mW"
    assert found["energy"]["label"].startswith(
        "measured: mean power x latency, of readings (each an average over 4 ms)"
    )
    assert found["slowdown"]["now"] == "x1.5"
    assert found["throttling"]["now"] == "now: frequency capped; since the start: under-voltage, throttled"
    assert found["temperature"]["now"] == "61.5 C"
    assert found["memory"]["now"] == "700 of 1024 MiB free"
    shown = tamiyo("doctor", "--root", fake.root).out
    assert "ina226 (hwmon0): the supply that the monitor is wired to" in shown


def test_rapl_is_listed_by_its_counters(tamiyo: Any, tmp_path: Path) -> None:
    fake = FakeBoard(tmp_path / "tree")
    fake.rapl({"package-0": 5_000_000, "dram": 1_000_000})
    energy = _meters(tamiyo, fake.root)["energy"]
    assert energy["read_from"] == "RAPL package-0 + dram: processor and memory, not the rest of the board"
    assert energy["now"] == "6 J counted"
