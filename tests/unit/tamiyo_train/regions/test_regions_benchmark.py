"""The benchmark of regions, on very little work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench_regions
from benchmarks.bench_regions import CHECKED, RECORDED, check

SCRIPT = Path(bench_regions.__file__)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_what_is_judged_comes_out_as_a_table_with_paired_differences(tmp_path):
    little = ("--out", tmp_path, "--families", "clusters", "--steps", 30, "--lanes", 3)
    judged = run("judge", *little, "--methods", "none", "flat", "last", "learned")
    assert judged.returncode == 0, judged.stderr
    table = run("table", "--out", tmp_path)
    assert table.returncode == 0, table.stderr
    found = json.loads((tmp_path / "table-held-out.json").read_text())
    assert found["episodes"]["clusters"] == 3
    assert found["methods"]["none"]["seeds"] == 0 and all(row["over"] == 0 for row in found["methods"].values())
    assert {"learned less flat", "learned less last", "last less flat"} <= set(found["differences"])
    own = found["differences"]["learned less none"]["clusters"]["mean"]
    gap = found["methods"]["learned"]["clusters"] - found["methods"]["none"]["clusters"]
    assert own["mean"] == pytest.approx(gap, abs=2e-4) and own["low"] <= own["mean"] <= own["high"]


def test_without_a_folder_nothing_but_the_check_is_done():
    refused = run("judge")
    assert refused.returncode == 2 and "judge needs --out" in refused.stderr


@pytest.mark.parametrize(("gain", "over", "code"), [(1.0, 0, 0), (0.95, 0, 0), (0.8, 0, 1), (1.0, 1, 1)])
def test_the_check_fails_where_a_tenth_was_lost_or_a_limit_exceeded(monkeypatch, tmp_path, gain, over, code):
    before = json.loads(RECORDED.read_text())["above the bare host"]
    assert set(before) == {*CHECKED} - {"none"} and min(before.values()) > 0
    found = {"above the bare host": {name: gain * value for name, value in before.items()}, "over": over}
    monkeypatch.setattr(bench_regions, "checked", lambda **asked: found)
    monkeypatch.setattr(bench_regions.results, "FOLDER", tmp_path)
    assert check() == code
    assert json.loads((tmp_path / "regions.jsonl").read_text())["held"] is (code == 0)
