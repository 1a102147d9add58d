"""What weights lead to, and that it is judged without them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.config import Prices
from tamiyo_train.tuning.outcomes import joined
from tamiyo_train.tuning.yardstick import FREE, Yardstick, choose, columns, point
from tests.unit.tamiyo_train.tuning.helpers import DEAR, MODEST, PLANTED, WAITS, Made, outcomes

weight = st.floats(1e-6, 10.0)
weights = st.builds(Prices, params=weight, energy=weight, latency=weight, safety_event=weight, training_macs=weight)
some = st.builds(
    Made,
    accuracy=st.floats(0.5, 0.95),
    params=st.floats(100, 1500),
    energy=st.floats(1, 12),
    training=st.floats(1, 9),
    events=st.sampled_from([0.0, 1.0]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(some, min_size=1, max_size=4), st.lists(weights, min_size=2, max_size=8))
def test_weights_that_choose_the_same_have_the_same_score_whatever_they_are(made, tried):
    found = outcomes([WAITS, *made], levels=1, draws=3)
    yardstick = Yardstick({1.0: found})
    everything = torch.ones(len(found), dtype=torch.bool)
    scores: dict[int, float] = {}
    for prices in tried:
        habit = int(choose(found, found.utilities(prices), everything)[0])
        assert scores.setdefault(habit, yardstick.score(prices)) == yardstick.score(prices)


@settings(max_examples=30, deadline=None)
@given(some)
def test_volume_is_that_of_the_box_between_a_choice_and_a_host_that_takes_its_whole_budget(made):
    found = outcomes([WAITS, made], levels=1, draws=1)
    sides = (1 - math.log2(1 + made.params / 1000), 1 - made.energy / 10, 1 - math.log2(made.training) / 3)
    box = max(made.accuracy - WAITS.accuracy, 0.0) * math.prod(max(side, 0.0) for side in sides)
    over = made.params > 1000 or made.energy > 10
    grown, waited = (point(columns(found, torch.tensor([habit]))) for habit in (1, 0))
    assert grown.volume == pytest.approx(0.0 if over else box, abs=1e-9)
    assert waited.volume == 0.0


def test_one_episode_beyond_a_limit_makes_a_choice_worth_nothing():
    found = outcomes([WAITS, MODEST])
    assert Yardstick({1.0: found}).score(Prices()) > 0
    cost = found.cost.clone()
    cost[4, 1, 3] = 10.5
    broken = replace(found, cost=cost)
    assert Yardstick({1.0: broken}).point(Prices()).broken == pytest.approx(1 / 18)
    assert Yardstick({1.0: broken}).score(Prices()) == 0.0


def test_a_limit_that_the_bare_host_exceeds_is_not_the_habits_fault():
    found = outcomes([WAITS, MODEST])
    late = found.budget.clone()
    late[:, 2] = 0.5
    assert Yardstick({1.0: replace(found, budget=late)}).point(Prices()).broken == 0.0


def test_cheapness_is_no_excuse_for_giving_accuracy_away():
    frugal = Made(accuracy=0.79, training=1.1)
    yardstick = Yardstick({1.0: outcomes([WAITS, frugal, MODEST])})
    stingy = replace(Prices(), training_macs=0.04)  # 1.6 points for what MODEST trains more: it costs one
    assert yardstick.point(stingy).accuracy == pytest.approx(0.79)
    assert yardstick.point(stingy).volume > 0
    assert yardstick.score(stingy) == 0.0


def test_habits_are_judged_on_draws_they_were_not_chosen_on():
    found = outcomes([WAITS, Made(accuracy=0.6), Made(accuracy=0.75)], levels=1, draws=3)
    lucky = found.accuracy.clone()
    lucky[0, 1] = 1.0  # the best on average of the folds that hold draw 0, and the worst of all elsewhere
    where = Yardstick({1.0: replace(found, accuracy=lucky)}).point(FREE)
    assert where.accuracy == pytest.approx((0.75 + 0.6 + 0.6) / 3)


def test_between_equals_nothing_is_grown_and_a_level_without_episodes_waits():
    found = outcomes([WAITS, replace_accuracy(MODEST, WAITS.accuracy)])
    everything = torch.ones(len(found), dtype=torch.bool)
    assert choose(found, found.utilities(FREE), everything).tolist() == [0, 0]
    only_first = found.level == 0
    better = outcomes([WAITS, MODEST])
    assert choose(better, better.utilities(FREE), only_first).tolist() == [1, 0]


def replace_accuracy(made: Made, accuracy: float) -> Made:
    return replace(made, accuracy=accuracy)


def test_shipped_weights_take_the_planted_dear_habit_and_a_dearer_training_the_modest():
    yardstick = Yardstick({1.0: outcomes(PLANTED)})
    assert yardstick.point(Prices()).accuracy == pytest.approx(DEAR.accuracy)
    assert yardstick.point(replace(Prices(), training_macs=0.01)).accuracy == pytest.approx(MODEST.accuracy)
    assert yardstick.point(replace(Prices(), training_macs=0.3)).accuracy == pytest.approx(WAITS.accuracy)


def test_outcomes_are_joined_by_the_names_of_their_levels():
    one = outcomes(PLANTED, levels=1, draws=2)
    other = replace(outcomes(PLANTED, levels=1, draws=3), levels=("another",))
    both = joined([one, other, one])
    assert both.levels == ("level 0", "another")
    assert both.level.tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert both.rows(both.level == 1).accuracy.shape == (3, 3)
    with pytest.raises(SchemaError, match="same in all parts"):
        joined([one, outcomes([WAITS])])


def test_outcomes_need_a_habit_that_waits_and_columns_that_agree():
    found = outcomes(PLANTED)
    with pytest.raises(SchemaError, match="never grow"):
        replace(found, habits=found.habits[::-1])
    with pytest.raises(SchemaError, match=r"accuracy: must have the shape \(18, 3\)"):
        replace(found, accuracy=found.accuracy[:, :2])
