"""Outcomes that were really played, and the reward that prices them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_train.config import Prices
from tamiyo_train.policy.lane_deciders import Habit, Kasminas
from tamiyo_train.policy.levels import EPISODE, FAMILIES, OFFERS, TAUGHT
from tamiyo_train.policy.rollout import drawn_lanes, roll
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes
from tamiyo_train.pricing import GrowthBudget, Priced, utility
from tamiyo_train.tuning.outcomes import FIRST_INIT, Job, at, habits_to_price, joined, play

SHORT = replace(EPISODE, steps=150)
HABITS = (Habit(seeds=0), Habit(intensity=4, forward=False), Habit(seeds=1, start=3, intensity=2))
JOB = Job(family="spirals", draws=(0, 1), gate=0.01, habits=HABITS, episode=SHORT, profiles=("cortex-m4",), seed=5)
LEVELS = len(FAMILIES["spirals"].training_data())
prices_of = st.builds(Prices, **{name: st.floats(0, 0.5) for name in Prices.__dataclass_fields__})


@pytest.fixture(scope="module")
def played():
    counts: list[int] = []
    found = play(JOB, counts.append)
    assert counts == list(range(SHORT.decisions))
    return found


def scalar(row: torch.Tensor) -> Priced:
    params, macs, latency_ms, energy_uj, memory_bytes = row.tolist()
    return Priced(
        params=int(params), macs=int(macs), memory_bytes=int(memory_bytes), latency_ms=latency_ms, energy_uj=energy_uj
    )


def limits(row: torch.Tensor) -> GrowthBudget:
    known = {name: None if value == torch.inf else value for name, value in zip(LIMITS, row.tolist(), strict=True)}
    return GrowthBudget(**known)


def test_every_habit_plays_the_same_episodes_and_the_first_only_waits(played):
    assert played.accuracy.shape == (2 * LEVELS, len(HABITS))
    assert played.level.tolist() == [*range(LEVELS)] * 2 and played.draw.tolist() == [0] * LEVELS + [1] * LEVELS
    assert torch.equal(played.cost[:, 0], played.host)
    assert played.training_ratio[:, 0].tolist() == [1.0] * 2 * LEVELS
    assert bool((played.training_ratio[:, 1] > 1).any())


@settings(max_examples=20, deadline=None)
@given(prices_of)
def test_outcomes_are_priced_by_the_reward_itself_at_any_weights(played, prices):
    worth = played.utilities(prices)
    for episode in range(len(played)):
        for habit in range(len(HABITS)):
            expected = utility(
                float(played.accuracy[episode, habit]),
                scalar(played.cost[episode, habit]),
                budget=limits(played.budget[episode]),
                prices=prices,
                safety_events=int(played.events[episode, habit]),
                training_ratio=float(played.training_ratio[episode, habit]),
            )
            assert float(worth[episode, habit]) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(prices_of)
def test_at_any_weights_growth_that_was_played_beats_waiting_exactly_when_it_gains_more_than_it_costs(played, prices):
    worth, free = played.utilities(prices), played.utilities(Prices(**dict.fromkeys(Prices.__dataclass_fields__, 0.0)))
    gain, price = free - free[:, :1], (free - worth) - (free - worth)[:, :1]
    clear = (gain - price).abs() > 1e-9
    assert torch.equal((worth > worth[:, :1])[clear], (gain > price)[clear])
    assert bool((price >= -1e-12).all())


def test_of_all_prices_only_the_gate_has_a_say_in_what_a_habit_comes_to(played):
    dear = replace(SHORT, prices=Prices(params=1.0, energy=1.0, latency=1.0, safety_event=1.0, training_macs=1.0))
    again = play(replace(JOB, episode=dear), lambda count: None)
    for name in ("accuracy", "cost", "events", "training_ratio"):
        assert torch.equal(getattr(again, name), getattr(played, name))
    shut = play(replace(JOB, gate=100.0), lambda count: None)
    assert torch.equal(shut.cost, shut.host[:, None].expand_as(shut.cost))
    assert not torch.equal(played.cost, shut.cost)


def test_prices_are_judged_by_what_was_played_nearest_to_them(played):
    by_gate = {gate: replace(played, levels=(f"at {gate:g}",) * LEVELS) for gate in (0.001, 0.01, 0.1)}
    for params, gate in ((0.0, 0.001), (0.003, 0.001), (0.0033, 0.01), (0.03, 0.01), (0.04, 0.1), (5.0, 0.1)):
        assert at(by_gate, Prices(params=params)).levels[0] == f"at {gate:g}"


def test_a_draw_is_the_same_whatever_else_is_played_with_it(played):
    alone = [play(replace(JOB, draws=(draw,)), lambda count: None) for draw in JOB.draws]
    together = joined(alone)
    assert torch.equal(together.budget, played.budget) and torch.equal(together.host, played.host)
    assert torch.equal(together.level, played.level) and torch.equal(together.draw, played.draw)
    assert torch.allclose(together.accuracy[:, 0], played.accuracy[:, 0], atol=0.02)
    other = play(replace(JOB, draws=(0,), seed=6), lambda count: None)
    assert not torch.equal(other.budget, alone[0].budget)


def test_hosts_of_a_draw_have_weights_of_their_own(played):
    waited = played.accuracy[:, 0].reshape(2, LEVELS)
    assert not torch.equal(waited[0], waited[1])


def test_an_episode_that_only_waits_is_worth_what_the_same_host_comes_to_without_any_decision(played):
    """The host is trained by the engine alone, in one window: no decisions, masks or rewards are near it."""
    family = FAMILIES["spirals"]
    whole = replace(SHORT, decisions=1)
    env = TensorGrowth(
        family.builder(), family.training_data(), whole, blueprints=OFFERS, taught=TAUGHT, profiles=("cortex-m4",)
    )
    seeds = np.random.default_rng([JOB.seed, *JOB.family.encode(), 0])
    lanes: Lanes = drawn_lanes(env, seeds, count=LEVELS, inits=range(FIRST_INIT, FIRST_INIT + 1))
    rollout = roll(env, lanes, Kasminas([Habit(seeds=0)] * LEVELS))
    first = played.draw == 0
    assert torch.equal(rollout.result.accuracy.double(), played.accuracy[first, 0])
    assert torch.equal(rollout.utility, played.utilities(SHORT.prices)[first, 0])


def test_the_grid_holds_waiting_and_every_blueprint_that_a_population_grows():
    grid = habits_to_price()
    assert grid[0].seeds == 0 and len(set(grid)) == len(grid)
    assert {habit.preferred for habit in grid[1:]} == set(TAUGHT)
    assert {habit.seeds for habit in grid[1:]} == {1, 3}
    assert len({habit.start for habit in grid[1:]}) > 1
    assert habits_to_price(every=9)[0].seeds == 0
