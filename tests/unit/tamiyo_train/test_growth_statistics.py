"""Statistics of the growth benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.growth_statistics import compare, holm, interquartile_mean


def test_the_interquartile_mean_forgets_the_outer_quarters():
    assert interquartile_mean(np.array([-1e9, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e9])) == pytest.approx(3.5)
    assert interquartile_mean(np.array([[0.0, 1.0, 2.0, 9.0], [4.0, 4.0, 4.0, 4.0]])).tolist() == [1.5, 4.0]


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    strata = np.repeat(np.arange(4), 25)
    for trial in range(100):
        differences = rng.normal(0.1, 1.0, 100)
        found = compare(differences, strata, samples=500, seed=trial)
        assert found.low <= found.mean <= found.high
        held += found.low <= 0.1 <= found.high
    assert 85 <= held <= 100


def test_a_clear_difference_is_found_and_none_is_not():
    strata = np.zeros(200, dtype=np.int64)
    rng = np.random.default_rng(1)
    assert compare(rng.normal(0.5, 1, 200), strata, samples=1000).low > 0
    level = compare(rng.normal(0.0, 1, 200), strata, samples=1000)
    assert level.low < 0 < level.high and level.p > 0.05


def test_holms_correction_multiplies_by_what_is_left_and_never_falls():
    strata = np.zeros(50, dtype=np.int64)
    rng = np.random.default_rng(2)
    plain = {
        name: compare(rng.normal(shift, 1, 50), strata, samples=1000)
        for name, shift in zip("abc", (1, 0.3, 0), strict=True)
    }
    corrected = holm(plain)
    ordered = sorted(plain, key=lambda name: plain[name].p)
    assert corrected[ordered[0]].p_holm == pytest.approx(min(1.0, 3 * plain[ordered[0]].p))
    values = [corrected[name].p_holm for name in ordered]
    assert values == sorted(values) and all(value <= 1 for value in values)
