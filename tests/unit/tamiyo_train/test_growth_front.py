"""Fronts of accuracy and cost, and the pairing with a peer's networks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.growth_front import beside_gromo, beside_twin, hypervolume
from benchmarks.growth_table import Table, text

FAMILIES = ("a", "b", "c", "d")
SPENT = ("training_macs", "training_ratio")


def test_a_hypervolume_is_the_area_that_is_dominated():
    reference = {"error": 1.0, "macs": np.e**2}
    assert hypervolume([(0.5, 1.0)], **reference) == pytest.approx(0.5 * 2)
    assert hypervolume([(0.5, 1.0), (0.25, np.e)], **reference) == pytest.approx(1.0 + 0.25)
    assert hypervolume([(0.5, 1.0), (0.6, np.e)], **reference) == pytest.approx(1.0)
    assert hypervolume([(0.1, 100.0)], **reference) == 0.0


def plays(folder, *, gain=0.02):
    """Plays of every method on four families of two tasks with six episodes each."""
    rng = np.random.default_rng(0)
    luck = {family: rng.normal(0, 0.05, 12) for family in FAMILIES}
    for method in (
        "none",
        "kasmina",
        "tuned",
        "random",
        "bandit",
        "oracle",
        "policy-0",
        "policy-1",
        "matched-0",
        "twin-0",
        "twin-1",
    ):
        columns = {}
        for family in FAMILIES:
            better = gain if method.startswith("policy") else 0.0
            accuracy = 0.8 + luck[family] + better + rng.normal(0, 0.002, 12)
            own = {
                "utility": accuracy,
                "accuracy": accuracy,
                "test_accuracy": accuracy,
                "params": np.full(12, 100.0),
                "macs": np.full(12, 90.0),
                "training_macs": np.full(12, 1e6),
                "training_ratio": np.full(12, 2.0),
                "events": np.zeros(12),
                "seeds": np.ones(12),
                "violations": np.zeros(12),
                "task": np.arange(12) % 2,
                "init": np.arange(12) // 2 % 3,
                "params_limit": np.full(12, 150.0),
                "macs_limit": np.full(12, 150.0),
                "host_macs": np.full(12, 50.0),
            }
            columns |= {f"{family}/{name}": values for name, values in own.items()}
        np.savez(folder / f"{method}.npz", **columns)
    return Table(folder)


def peer(path, accuracy):
    rows = [
        {"family": f, "level": level, "seed": seed, "accuracy": a, "params": p, "macs": p, "training_macs": 2e6}
        for f in FAMILIES
        for level in (0, 1)
        for seed in (0, 1, 2)
        for a, p in ((accuracy, 140), (accuracy + 0.2, 400))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_better_policy_passes_and_an_equal_one_does_not(tmp_path):
    for gain, passes in ((0.02, True), (0.0, False)):
        folder = tmp_path / str(passes)
        folder.mkdir()
        figures = plays(folder, gain=gain).figures()
        assert figures["passes"]["tuned"] is passes
        assert figures["passes"]["no limit exceeded"] and figures["passes"]["not inferior to its twin"]
        assert figures["methods"]["policy"]["policy_seeds"] == 2 and figures["episodes"] == 48
        assert set(figures["over_tuned_by_seed"]) == {"0", "1"}
        assert all(len(levels) == 2 for levels in figures["over_tuned_by_level"].values())
        by_host = figures["over_tuned_host_by_host"]["utility, mean"]
        assert by_host["low"] <= by_host["mean"] <= by_host["high"]
        assert (figures["episodes_over"]["tuned"]["ahead"] > 0.9) == passes
        assert "FAILS" in text(figures) or passes


def test_the_peer_is_taken_at_the_size_that_fits_and_never_beyond_the_limits(tmp_path):
    table = plays(tmp_path)
    found = beside_gromo(table, peer(tmp_path / "peer.jsonl", 0.7))
    assert found["episodes"] == 48 and found["unmatched"] == 0
    assert found["test_accuracy"]["mean"] == pytest.approx(0.12, abs=0.03)
    assert found["ln_training_macs"]["mean"] == pytest.approx(np.log(0.5))
    assert all(found["passes"].values())
    worse = beside_gromo(table, peer(tmp_path / "better.jsonl", 0.95))
    assert not worse["passes"]["not inferior to gromo"]


def test_episodes_that_no_network_of_the_peer_fits_are_counted(tmp_path):
    table = plays(tmp_path)
    path = tmp_path / "large.jsonl"
    rows = [
        {"family": f, "level": level, "seed": seed, "accuracy": 0.9, "params": p, "macs": p, "training_macs": 2e6}
        for f in FAMILIES
        for level, p in ((0, 100), (1, 1000))
        for seed in (0, 1, 2)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = beside_gromo(table, path)
    assert found["episodes"] == 24 and found["unmatched"] == 24


def test_beside_its_twin_a_better_policy_has_the_larger_front_and_a_dearer_one_loses_what_it_spent(tmp_path):
    found = beside_twin(plays(tmp_path))
    assert found["unmatched"] == 0 and found["episodes_at_equal_training"] == 48
    assert found["test_accuracy_at_equal_training"]["low"] > 0
    assert set(found["hypervolume_over_twin"]) == set(FAMILIES)
    assert min(found["hypervolume_over_twin"].values()) > 1.01
    for path in tmp_path.glob("policy-*.npz"):
        columns = dict(np.load(path))
        columns |= {f"{family}/{name}": 2 * columns[f"{family}/{name}"] for family in FAMILIES for name in SPENT}
        np.savez(path, **columns)
    dearer = beside_twin(Table(tmp_path))
    assert dearer["hypervolume_over_twin"] == found["hypervolume_over_twin"]
    assert max(dearer["training_hypervolume_over_twin"].values()) < 0.95


def test_plays_that_train_less_than_every_twin_are_counted(tmp_path):
    plays(tmp_path)
    for path in tmp_path.glob("policy-0.npz"):
        columns = dict(np.load(path))
        np.savez(path, **columns | {f"a/{name}": columns[f"a/{name}"] / 2 for name in SPENT})
    found = beside_twin(Table(tmp_path))
    assert found["unmatched"] == 12 and found["episodes_at_equal_training"] == 48
