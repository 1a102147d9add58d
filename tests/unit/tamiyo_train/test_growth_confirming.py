"""Levels that no examination had before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth_confirming, growth_setting
from benchmarks.growth_confirming import DATA, DRAW, LEVELS, confirm
from benchmarks.growth_setting import SMOKE
from benchmarks.growth_statistics import interquartile_mean
from benchmarks.growth_table import MAIN, Table
from tamiyo_train.policy.levels import FAMILIES, HELD_OUT_DATA, TRAINING_DATA

RESULTS = Path(growth_setting.__file__).parent / "growth_policy"


def test_neither_levels_nor_samples_nor_hosts_were_taught_or_examined_before():
    assert set(LEVELS) == set(FAMILIES)
    for name, levels in LEVELS.items():
        family = FAMILIES[name]
        assert not set(levels) & {*family.training, *family.held_out}
    assert max(TRAINING_DATA, HELD_OUT_DATA) + 100 < DATA
    for inits in (
        growth_setting.TRAINING,
        growth_setting.VALIDATION,
        growth_setting.HELD_OUT,
        growth_setting.REFERENCE,
    ):
        assert not set(DRAW.inits) & set(inits)
    assert len(DRAW.inits) == growth_setting.Scale().episodes  # a host of its own for every episode


@pytest.mark.parametrize("folder", [RESULTS, RESULTS / "confirm"], ids=["examination", "confirmation"])
def test_the_tables_that_are_kept_are_those_of_the_plays_beside_them(folder):
    recorded, table = json.loads((folder / "table.json").read_text()), Table(folder / "plays")
    for name, row in recorded["methods"].items():
        for column in ("utility", "test_accuracy", "params", "training_ratio", "violations"):
            assert float(table.mean(name, column).mean()) == pytest.approx(row[column], rel=1e-9), (name, column)
    for name in MAIN:
        found = float(interquartile_mean(table.difference(name)))
        assert found == pytest.approx(recorded["comparisons"][f"over {name}"]["mean"], abs=1e-12)
        assert recorded["passes"][name] == (recorded["comparisons"][f"over {name}"]["low"] > 0)
    for path in (folder / "plays").glob("*.npz"):
        assert recorded["hashes"][path.name] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_whoever_was_kept_plays_the_same_episodes_and_nothing_is_written_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(growth_confirming, "METHODS", ("none", "policy-0", "twin-0"))
    before = {path.name for path in RESULTS.rglob("*")}
    confirm(replace(SMOKE, families=("spirals",), episodes=2), device="cpu", learned=RESULTS, out=tmp_path)
    assert {path.name for path in RESULTS.rglob("*")} == before
    with np.load(tmp_path / "plays" / "none.npz") as none, np.load(tmp_path / "plays" / "policy-0.npz") as policy:
        for same in ("task", "init", "params_limit"):
            assert np.array_equal(none[f"spirals/{same}"], policy[f"spirals/{same}"])
        assert set(none["spirals/init"]) <= set(DRAW.inits)
    assert (tmp_path / "plays" / "calibration-0.json").exists()
