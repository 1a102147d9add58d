"""Statistics of the growth benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.growth_statistics import ahead, compare, holm, interquartile_mean, mean
from tamiyo_runtime.contracts.errors import SchemaError


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


def test_episodes_of_one_host_are_no_more_evidence_than_the_host():
    """Six times the same difference: drawn by host the interval is that of the hosts, one by one it is too narrow."""
    hosts = np.random.default_rng(3).normal(0.0, 1.0, 60)
    strata, clusters = np.repeat([0, 1], 180), np.tile(np.repeat(np.arange(30), 6), 2)
    differences = np.repeat(hosts, 6)
    alone = compare(hosts, np.repeat([0, 1], 30), statistic=mean, samples=4000)
    together = compare(differences, strata, clusters=clusters, statistic=mean, samples=4000)
    singly = compare(differences, strata, statistic=mean, samples=4000)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert singly.high - singly.low < 0.5 * (alone.high - alone.low)


def test_clusters_may_lie_anywhere_in_a_stratum_but_have_to_be_of_one_size():
    rng = np.random.default_rng(4)
    clusters, order = np.repeat(np.arange(20), 3), rng.permutation(60)
    differences, strata = rng.normal(size=60), np.zeros(60, dtype=np.int64)
    found = compare(differences, strata, clusters=clusters, statistic=mean, samples=2000)
    moved = compare(differences[order], strata, clusters=clusters[order], statistic=mean, samples=2000)
    assert (moved.low, moved.high) == pytest.approx((found.low, found.high), abs=0.02)
    with pytest.raises(SchemaError, match="differ in size"):
        compare(differences, strata, clusters=np.minimum(clusters, 18), samples=10)


def test_a_difference_counts_as_ahead_or_behind_only_when_it_is_worth_mentioning():
    found = ahead(np.array([0.01, 0.0004, 0.0, -0.0004, -0.0009, -0.002]))
    assert found == pytest.approx({"above": 2 / 6, "ahead": 1 / 6, "behind": 1 / 6, "level": 4 / 6})
