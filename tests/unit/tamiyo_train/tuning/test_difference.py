"""How far choices are apart: what an interval is an interval of."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.tuning.difference import Difference, Jackknife
from tamiyo_train.tuning.outcomes import Outcomes
from tamiyo_train.tuning.yardstick import columns
from tests.unit.tamiyo_train.tuning.helpers import MODEST, WAITS, outcomes


def accuracy_gained(found: Outcomes) -> Difference:
    grown, waited = (columns(found, torch.full((len(found),), habit)) for habit in (1, 0))
    return Jackknife(found).differences(grown, waited)[1]


def moved(found: Outcomes, by: torch.Tensor) -> Outcomes:
    """The second habit better by so much in every episode."""
    accuracy = found.accuracy.clone()
    accuracy[:, 1] += by
    return replace(found, accuracy=accuracy)


def test_what_is_the_same_in_all_episodes_has_an_interval_of_no_width():
    found = outcomes([WAITS, MODEST])
    gained = accuracy_gained(found)
    assert gained.mean == pytest.approx(0.1)
    assert gained.low == pytest.approx(0.1) and gained.high == pytest.approx(0.1)


def test_what_differs_between_draws_of_weights_widens_it_as_the_error_of_their_mean_and_levels_of_a_draw_do_not():
    levels, draws = 5, 12
    found = outcomes([WAITS, MODEST], levels=levels, draws=draws)
    luck = 0.05 * torch.randn(draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gained = accuracy_gained(moved(found, luck[found.draw]))
    expected = 2 * t.ppf(0.975, draws - 1) * float(luck.std()) / math.sqrt(draws)
    assert gained.high - gained.low == pytest.approx(expected)
    assert gained.low < gained.mean < gained.high
    assert gained.mean == pytest.approx(0.1 + float(luck.mean()))


def test_what_differs_between_families_is_no_chance():
    found = replace(outcomes([WAITS, MODEST], levels=2, draws=6), levels=("spirals 1", "digits 1"))
    assert found.family.tolist() == found.level.tolist()
    gained = accuracy_gained(moved(found, 0.2 * found.family.double()))
    assert gained.mean == pytest.approx(0.2)
    assert gained.high - gained.low == pytest.approx(0.0, abs=1e-12)


def test_a_family_with_more_levels_weighs_more():
    three = replace(outcomes([WAITS, MODEST], levels=3, draws=4), levels=("a 1", "a 2", "b 1"))
    gained = accuracy_gained(moved(three, 0.3 * (three.family == 1).double()))
    assert gained.mean == pytest.approx(0.2)


def test_nothing_less_nothing_is_nothing():
    found = outcomes([WAITS, MODEST], levels=2, draws=9)
    same = columns(found, torch.ones(len(found), dtype=torch.int64))
    nothing = Difference(mean=0.0, low=0.0, high=0.0)
    assert Jackknife(found).differences(same, same) == (nothing, nothing)


def test_two_draws_that_agree_by_chance_are_not_called_certain():
    found = outcomes([WAITS, MODEST], draws=2)
    gained = accuracy_gained(moved(found, torch.tensor([0.0, 0.02], dtype=torch.float64)[found.draw]))
    assert gained.mean == pytest.approx(0.11) and gained.low < 0


def test_one_draw_says_nothing_of_chance():
    with pytest.raises(SchemaError, match="two of every family"):
        Jackknife(outcomes([WAITS, MODEST], draws=1))


def test_an_interval_holds_the_truth_as_often_as_it_says():
    """Nine draws in each of two families, 400 times: 95 %, give or take three standard errors."""
    rng = np.random.default_rng(0)
    names = ("a 1", "a 2", "b 1")
    plain = replace(outcomes([WAITS, MODEST], levels=3, draws=9), levels=names)
    cluster = plain.family * 9 + plain.draw
    holds = 0
    for _ in range(400):
        luck = torch.from_numpy(rng.normal(0, 0.1, 18))[cluster]
        gained = accuracy_gained(moved(plain, luck))
        holds += gained.low <= 0.1 <= gained.high
    assert abs(holds / 400 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 400)
