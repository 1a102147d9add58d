"""Ways to less training: episodes cut short keep their decisions, and are paired with twins of full length."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.growth_cheaper import WAYS, cut, figures
from tamiyo_train.policy.levels import EPISODE
from tests.unit.tamiyo_train.test_growth_front import SPENT, plays


@pytest.mark.parametrize(("name", "steps"), [("short", 1215), ("short-thrifty", 1260), ("early", 1500)])
def test_an_episode_is_cut_short_in_its_windows(name, steps):
    made = cut(EPISODE, WAYS[name])
    assert (made.steps, made.decisions, made.batch) == (steps, EPISODE.decisions, EPISODE.batch)


def test_what_was_played_is_paired_with_the_twins_of_full_length(tmp_path):
    (tmp_path / "plays").mkdir()
    (tmp_path / "cheaper" / "plays").mkdir(parents=True)
    plays(tmp_path / "plays")
    for seed in (0, 1):
        columns = dict(np.load(tmp_path / "plays" / f"policy-{seed}.npz"))
        halved = {key: value / 2 for key, value in columns.items() if key.partition("/")[2] in SPENT}
        np.savez(tmp_path / "cheaper" / "plays" / f"early-{seed}.npz", **columns | halved)
        np.savez(tmp_path / "cheaper" / "plays" / f"early-twin-{seed}.npz", **columns)
    found = figures(tmp_path)
    assert set(found) == {"policy", "early"}
    assert found["early"]["ln_training_macs_over_twin"]["mean"] == pytest.approx(np.log(0.5))
    assert found["early"]["training_over_host"] == pytest.approx(found["policy"]["training_over_host"] / 2)
    assert found["early"]["test_accuracy_over_twin"] == found["policy"]["test_accuracy_over_twin"]
    assert found["early"]["test_accuracy_at_equal_training"] is None and found["early"]["unmatched"] == 96
    assert found["early"]["test_accuracy_over_own_twin"]["mean"] == 0
    assert found["early"]["ln_training_macs_over_own_twin"]["mean"] == pytest.approx(np.log(0.5))
    ratios = zip(*(found[name]["training_hypervolume_over_twin"].values() for name in ("early", "policy")), strict=True)
    assert all(short > full for short, full in ratios)
