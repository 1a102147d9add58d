"""The benchmark of growth policies, every part on very little work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "bench_growth_policy.py"
METHODS = {
    "none",
    "kasmina",
    "tuned",
    "random",
    "bandit",
    "oracle",
    "tutor",
    "cloned",
    "ppo",
    "policy",
    "matched",
    "thrifty",
    "thrifty-twin",
    "twin",
}


@pytest.mark.long
def test_the_smoke_version_teaches_judges_and_prints_what_loses_too(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "smoke", "--out", tmp_path], capture_output=True, text=True, timeout=290, check=False
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table["methods"]) == METHODS
    assert all(name in done.stdout for name in METHODS)
    assert table["methods"]["none"]["training_ratio"] == 1.0
    criteria = {"tuned", "kasmina", "matched", "random", "bandit", "not inferior to its twin", "no limit exceeded"}
    assert set(table["passes"]) == criteria
    assert {"protocol", "policy-0.safetensors", "cloned-0.safetensors"} <= set(table["hashes"])
    assert table["passes"]["no limit exceeded"]
