"""Proximal policy optimisation: advantages, the unit of the value head, and that it learns what pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.config import Prices
from tamiyo_train.policy import ppo
from tamiyo_train.policy.levels import EPISODE, FAMILIES, growth
from tamiyo_train.policy.network import HeadViews
from tamiyo_train.policy.oracle import simulate
from tamiyo_train.policy.rollout import drawn_lanes, repeated
from tests.unit.tamiyo_train.drawn import HEADS, drawn_seen, network


def test_advantages_are_the_sums_of_the_published_recursion():
    """delta(t) = r(t) + V(t + 1) - V(t), A(t) = sum of lambda^k delta(t + k); nothing comes after the end."""
    rewards, values = torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([[0.5], [1.5], [1.0]])
    deltas = [1.0 + 1.5 - 0.5, 0.0 + 1.0 - 1.5, 2.0 - 1.0]
    expected = [deltas[0] + 0.5 * deltas[1] + 0.25 * deltas[2], deltas[1] + 0.5 * deltas[2], deltas[2]]
    assert ppo.advantages(rewards, values, lam=0.5)[:, 0].tolist() == pytest.approx(expected)
    assert ppo.advantages(rewards, values, lam=0.0)[:, 0].tolist() == pytest.approx(deltas)


@pytest.mark.parametrize(
    "wrong", [{"lanes": 20, "group": 8}, {"floor": 1.0}, {"lam": 1.1}, {"epochs": 0}, {"inits": (5, 5)}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(SchemaError, match=next(iter(wrong))):
        ppo.Settings(**wrong)


def test_advantages_without_a_critic_are_returns_and_with_a_perfect_one_nothing():
    rewards = torch.rand(15, 4, dtype=torch.float64)
    returns = rewards.flip(0).cumsum(0).flip(0)
    assert torch.allclose(ppo.advantages(rewards, torch.zeros_like(rewards), lam=1.0), returns)
    assert torch.allclose(ppo.advantages(rewards, returns, lam=0.95), torch.zeros_like(rewards), atol=1e-12)
    assert ppo.explained_variance(returns, returns) == pytest.approx(1.0)
    assert ppo.explained_variance(torch.zeros(9), torch.ones(9)) == 0.0


def test_the_value_head_says_the_same_when_its_unit_moves():
    policy, scale = network(), ppo.Scale(0.5, 2.0)
    seen = drawn_seen().vector
    views = HeadViews(HEADS)
    with torch.no_grad():
        before = scale.raw(views(policy(seen))["value"])
        scale.follow(torch.tensor([1.0, 3.0, 2.0]), policy)
        after = scale.raw(views(policy(seen))["value"])
    assert torch.allclose(before, after, atol=1e-5)
    assert scale.mean == pytest.approx(0.8)


def test_a_lucky_host_is_no_merit_of_who_grew_it(dear):
    """Whatever all episodes of a host have in common, at any decision, is gone; what they do differently is left."""
    lanes = drawn_lanes(dear["spirals"], np.random.default_rng(0), count=3, inits=range(10_000, 10_004))
    hosts = torch.tensor(repeated(lanes, 4).seed)
    luck, merit = torch.randn(5, 3).repeat_interleave(4, 1), torch.randn(5, 12)
    assert len({*hosts.tolist()}) == 3
    found = ppo.within_groups((luck + merit).flatten(), 4).reshape(5, 12)
    for host in hosts.unique():
        own = merit[:, hosts == host]
        assert torch.allclose(found[:, hosts == host], own - own.mean(1, keepdim=True), atol=1e-6)
    assert torch.equal(ppo.within_groups(merit.flatten(), 1), merit.flatten())


DEAR = replace(EPISODE, steps=30, decisions=5, prices=replace(Prices(), training_macs=1.0))
"""Episodes in which training anything beside the host costs more than it can bring."""
SETTINGS = ppo.Settings(
    iterations=6,
    lanes=32,
    group=1,
    epochs=6,
    minibatches=2,
    learning_rate=3e-3,
    target_kl=0.2,
    leash=0.0,
    entropy=0.0,
    gates=0.0,
    inits=(10_000, 10_004),
)


def learner(settings: ppo.Settings) -> ppo.Learner:
    return ppo.Learner(network(3), settings, scale=ppo.Scale(-1.0, 1.0), running=simulate(64, 3, seed=0), seed=0)


@pytest.fixture(scope="module")
def dear():
    family = FAMILIES["spirals"]
    return {"spirals": growth(family.builder(), [family.training_level(0)], episode=DEAR)}


def test_a_policy_that_grows_at_random_learns_to_wait_where_growing_never_pays(dear):
    history = learner(SETTINGS).learn(dear)
    earned = [step.utility["spirals"] for step in history]
    assert [step.iteration for step in history] == list(range(6))
    assert earned[0] < 0.2 and earned[-1] > earned[0] + 0.2
    assert all(0 <= step.kl < 1 and 1 <= step.epochs <= 6 for step in history)


def test_a_learner_that_is_taken_up_goes_on_as_if_it_had_never_stopped(dear):
    settings = replace(SETTINGS, iterations=3, epochs=2)
    whole, kept = learner(settings), []
    history = whole.learn(dear, lambda step: kept.append(_copied(whole.state())) if step.iteration == 1 else None)
    again = learner(settings)
    again.take_up(kept[0])
    assert again.learn(dear) == history
    for ours, theirs in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_learning_that_was_given_up_is_not_taken_up_again(dear):
    """A value head that explains nothing after so many updates ends it, also for whoever comes later."""
    given_up = learner(replace(SETTINGS, iterations=40))
    step = learner(replace(SETTINGS, iterations=1, epochs=1)).learn(dear)[0]
    history = [replace(step, iteration=number, explained=0.0).to_json() for number in range(ppo.UPDATES_ALLOWED + 1)]
    given_up.take_up({**given_up.state(), "history": history})
    assert len(given_up.learn(dear)) == ppo.UPDATES_ALLOWED + 1


def _copied(state):
    return {key: _copied(value) for key, value in state.items()} if isinstance(state, dict) else _plain(state)


def _plain(value):
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value.clone() if isinstance(value, torch.Tensor) else value
