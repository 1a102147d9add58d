"""Episodes: waiting is worth the bare host, masks hold the budget, reading changes nothing, every gate is real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError, TamiyoError
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES, Operation, observation_size
from tamiyo_train import telemetry
from tamiyo_train.audit import verify
from tamiyo_train.blueprints import Blueprint, Domain, blueprints
from tamiyo_train.config import Episode, Prices
from tamiyo_train.env import play
from tamiyo_train.evaluation import Scores, paired_accuracy_gain, paired_gain, score, subsets
from tamiyo_train.gardener import learning_rate_of
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings, RandomDecider, Waiting
from tamiyo_train.pricing import GrowthBudget, Priced, Pricer, params_price, utility
from tamiyo_train.static import train_static
from tests.unit.tamiyo_train.helpers import SHORT, new_host, same, tensors_of

EAGER = KasminaSettings(patience=0)


def feature(observation, name, slot=None):
    if slot is None:
        return float(observation.vector[GLOBAL_FEATURES.index(name)])
    return float(observation.vector[len(GLOBAL_FEATURES) + slot * len(SLOT_FEATURES) + SLOT_FEATURES.index(name)])


def test_an_episode_that_only_waits_is_worth_exactly_the_bare_host(make_env, data):
    env = make_env()
    outcome = play(env, Waiting())
    bare = train_static(new_host(), {}, data, SHORT, seed=0)
    expected = utility(
        score(bare.network, data.score).accuracy,
        env.pricer.price(new_host().layers),
        budget=env.budget,
        prices=SHORT.prices,
    )
    assert same(dict(env.network.state_dict()), dict(bare.network.state_dict()))
    assert outcome.utility == expected
    assert outcome.training_macs == bare.training_macs


def test_observing_changes_nothing(make_env):
    env = make_env()
    env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=4, intensity=2))
    before, modes = tensors_of(env), [m.training for m in env.network.modules()]
    global_state = torch.random.get_rng_state()
    first, second = env.observe(), env.observe()
    telemetry.read(env.network, env.trainer)
    assert same(before, tensors_of(env))
    assert [m.training for m in env.network.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert np.array_equal(first.vector, second.vector)


def test_the_observation_has_the_contracts_layout_and_says_what_phase_it_is(make_env):
    env = make_env(profile="raspberry-pi-4")
    observation = env.observe()
    assert observation.vector.shape == (observation_size(4),)
    assert np.isfinite(observation.vector).all()
    assert feature(observation, "running") == 0.0
    assert feature(observation, "steps_left") == 1.0
    assert feature(observation, "profile_log10_active_mw") > 0
    assert [feature(observation, "is_free", slot) for slot in range(4)] == [1.0] * 4
    assert [feature(observation, "depth", slot) for slot in range(4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    env.act(Action(operation=Operation.GERMINATE, slot=2, blueprint=4, intensity=2))
    observation = env.observe()
    assert feature(observation, "is_free", 2) == 0.0
    assert feature(observation, "is_training", 2) == 1.0
    assert feature(observation, "relative_params", 2) == pytest.approx(2600 / 422)
    assert feature(observation, "steps_left") == pytest.approx(7 / 8)
    assert feature(observation, "age", 2) == pytest.approx(1 / 8)
    assert feature(observation, "loss_level") > 0


def test_drift_sees_direction_and_the_norm_ratio_sees_scale():
    x = torch.randn(50, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert telemetry.drift_of(x, x) == pytest.approx((0, 0, 0), abs=1e-9)
    mean, p95, ratio = telemetry.drift_of(x, 2 * x)
    assert (mean, p95, ratio) == pytest.approx((0, 0, 1), abs=1e-9)
    mean, _, ratio = telemetry.drift_of(x, -x)
    assert (mean, ratio) == pytest.approx((2, 0), abs=1e-9)
    assert telemetry.drift_of(torch.zeros(3, 2), torch.zeros(3, 2)) == pytest.approx((0, 0, 0))


def test_an_illegal_action_raises_and_changes_nothing(make_env):
    env = make_env()
    before, entries = tensors_of(env), len(env.audit.entries)
    for action in (
        Action(operation=Operation.ADVANCE, slot=0),
        Action(operation=Operation.FOSSILISE, slot=0),
        Action(operation=Operation.PRUNE, slot=0),
        Action(operation=Operation.GERMINATE, slot=0, blueprint=0),
        Action(operation=Operation.GERMINATE, slot=0, blueprint=1, intensity=9),
    ):
        with pytest.raises(TamiyoError, match="not allowed"):
            env.act(action)
    assert same(before, tensors_of(env))
    assert len(env.audit.entries) == entries


def test_waiting_is_legal_at_every_decision_of_any_episode(make_env):
    for seed in range(2):
        env = make_env(seed=seed)
        decider = RandomDecider(seed)
        while not env.done:
            observation = env.observe()
            assert observation.masks.operation[Operation.WAIT]
            assert observation.masks.allows(WAIT)
            action = decider.decide(observation)
            assert observation.masks.allows(action)
            env.act(action)
        env.finish()
        verify(env.audit.entries)


@pytest.mark.parametrize("limit", [{"params": 700}, {"macs": 12_000}, {"latency_ms": 0.12}, {"memory_bytes": 1400}])
def test_the_budget_is_never_exceeded_whatever_is_decided(make_env, limit):
    probe = make_env(profile="raspberry-pi-4")
    budget = replace(probe.budget, **limit)
    env = make_env(profile="raspberry-pi-4", budget=budget)
    decider, offered = RandomDecider(3), 0
    while not env.done:
        observation = env.observe()
        offered += int(observation.masks.blueprint.sum())
        env.act(decider.decide(observation))
        assert budget.allows(env.pricer.price(env.network.graphs()))
    everything = 4 * 4 * SHORT.decisions
    assert 0 < offered < everything  # the limit bites, and leaves something


def test_a_budget_that_the_host_alone_exceeds_leaves_nothing_but_waiting(make_env):
    env = make_env(budget=GrowthBudget(params=100, macs=100))
    assert env.observe().masks.operation.tolist() == [True, False, False, False, False]
    env.act(WAIT)
    assert env.safety_events == 0


def test_a_seed_that_proves_itself_is_fossilised_and_one_that_cannot_is_not_offered_it(make_env):
    config = Episode(steps=120, decisions=8, consolidation_steps=0, batch=64)
    env = make_env(config)
    outcome = play(env, KasminaMicro(EAGER))
    assert outcome.fossilised
    kept = [e for e in env.audit.entries if e.data.get("event") == Event.FOSSILISE]
    assert len(kept) == len(outcome.fossilised)
    assert all(env.network.lives[slot].state is State.FOSSILISED for slot in outcome.fossilised)
    assert all(life.state not in {State.TRAINING, State.BLENDING} for life in env.network.lives)


def test_a_probationary_seed_without_gain_cannot_be_fossilised(make_env):
    env = make_env()
    env.act(Action(operation=Operation.GERMINATE, slot=0, blueprint=2, intensity=0))
    life = env.network.lives[0]
    for event in (Event.ADVANCE, Event.BLENDED, Event.SHADOWED):
        life.fire(event, step=4, reason="test")
    env.network.seed_at(0).alpha = 1.0
    with torch.no_grad():
        for param in env.network.seed_at(0).module.parameters():
            param.zero_()  # the identity again: worth nothing
    reading = telemetry.read(env.network, env.trainer)
    assert reading.slots[0].contribution == 0.0
    assert not env.gardener.masks(reading).slot[Operation.FOSSILISE, 0]
    assert env.gardener.masks(reading).slot[Operation.PRUNE, 0]


def test_a_newborn_that_is_not_the_identity_is_culled_before_it_trains(make_env):
    env = make_env()

    loud = Blueprint(
        name="loud",
        summary="",
        domains=frozenset(Domain),
        build=lambda slot: torch.nn.Conv2d(slot.channels, slot.channels, 1),
        layers=lambda slot: (),
    )
    env.gardener.blueprints = (*env.gardener.blueprints, loud)
    env.gardener.germinate(0, 5, 2)
    assert env.network.lives[0].state is State.EMBARGOED
    assert env.network.seeds[0] is None
    culls = [e.data["reason"] for e in env.audit.entries if e.data.get("event") == Event.CULL]
    assert len(culls) == 1
    assert "identity" in culls[0]


def test_an_embargoed_slot_comes_back_after_its_windows(make_env):
    env = make_env()
    env.act(Action(operation=Operation.GERMINATE, slot=0, blueprint=1, intensity=2))
    env.act(Action(operation=Operation.PRUNE, slot=0))
    assert not env.observe().masks.slot[Operation.GERMINATE, 0]
    for _ in range(SHORT.embargo_windows):
        env.act(WAIT)
    assert env.observe().masks.slot[Operation.GERMINATE, 0]


def test_critical_drift_takes_the_window_back(make_env):
    env = make_env(replace(SHORT, limits=replace(SHORT.limits, drift_critical=1e-9, drift_hold=1e-9)))
    env.act(Action(operation=Operation.GERMINATE, slot=3, blueprint=4, intensity=4))
    env.network.lives[3].fire(Event.ADVANCE, step=4, reason="test")
    env.network.seed_at(3).alpha = 0.5
    report = env.act(WAIT)
    assert report.panics == 1
    assert env.network.seeds[3] is None
    assert env.trainer.step_index == 2 * SHORT.window  # the time is lost, not given back


class TestPricing:
    COST = Priced(params=1000, macs=10, memory_bytes=10, latency_ms=2.0, energy_uj=30.0)
    BUDGET = GrowthBudget(params=1000, macs=100, latency_ms=1.0, energy_uj=10.0)

    def test_utility_is_accuracy_less_what_the_formula_prices(self):
        prices = Prices(params=0.1, energy=0.01, latency=0.02, safety_event=0.03, training_macs=0.001)
        value = utility(0.9, self.COST, budget=self.BUDGET, prices=prices, safety_events=2, training_ratio=11.0)
        assert value == pytest.approx(0.9 - 0.1 * 1 - 0.01 * 2 - 0.02 * 1 - 0.03 * 2 - 0.001 * 10)

    def test_what_is_not_known_is_not_charged(self):
        unknown = replace(self.COST, latency_ms=None, energy_uj=None)
        prices = Prices(params=0.0)
        assert utility(0.9, unknown, budget=self.BUDGET, prices=prices) == 0.9
        assert self.BUDGET.allows(unknown)

    @given(st.integers(0, 10**6), st.integers(0, 10**6))
    def test_more_parameters_cost_more(self, a, b):
        low, high = sorted((a, b))
        assert params_price(low, self.BUDGET, Prices()) <= params_price(high, self.BUDGET, Prices())

    def test_a_profile_adds_latency_and_energy_and_agrees_on_what_can_be_counted(self):
        layers = new_host().layers
        without, with_profile = Pricer(None).price(layers), Pricer("raspberry-pi-4").price(layers)
        assert (without.params, without.macs) == (with_profile.params, with_profile.macs) == (422, 8976)
        assert without.latency_ms is None
        assert with_profile.latency_ms > 0

    def test_a_budget_must_be_above_nought(self):
        with pytest.raises(SchemaError):
            GrowthBudget(params=0, macs=1)


class TestEvaluation:
    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
    def test_the_paired_gain_is_the_difference_and_its_bound_lies_below(self, pairs):
        present, absent = (torch.tensor([p[k] for p in pairs]) for k in (0, 1))
        after, before = (Scores(correct=c, sureness=c / 2, loss=0.0) for c in (present, absent))
        gain, low = paired_accuracy_gain(after, before)
        assert gain == pytest.approx(float(present.double().mean() - absent.double().mean()))
        assert low <= gain
        assert paired_gain(after, before) == pytest.approx((gain / 2, low / 2))

    def test_a_seed_that_only_makes_right_answers_surer_has_a_gain(self):
        correct = torch.ones(50, dtype=torch.bool)
        before = Scores(correct=correct, sureness=torch.linspace(0.5, 0.6, 50), loss=0.6)
        after = Scores(correct=correct, sureness=torch.linspace(0.8, 0.85, 50), loss=0.2)
        assert paired_accuracy_gain(after, before) == (0.0, 0.0)
        assert paired_gain(after, before)[1] > 0.2

    def test_all_subsets_of_the_filled_slots_bare_host_first(self):
        found = subsets(4, [1, 3])
        assert found[0] == (False,) * 4
        assert found[-1] == (False, True, False, True)
        assert len(found) == len(set(found)) == 4


def test_a_seed_that_has_not_lowered_the_loss_cannot_be_blended(make_env):
    env = make_env()
    env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=1, intensity=2))
    with torch.no_grad():
        for param in env.network.seed_at(1).module.parameters():
            param.zero_()  # the identity: on or off, the loss is the same
    reading = telemetry.read(env.network, env.trainer)
    assert not env.gardener.masks(reading).slot[Operation.ADVANCE, 1]
    assert env.gardener.masks(reading).slot[Operation.PRUNE, 1]


def test_intensity_is_scaled_by_blueprint_and_clamped_last():
    quick, slow = blueprints.get("bottleneck"), blueprints.get("wide-conv")
    assert [learning_rate_of(quick, k) for k in range(5)] == [0.1, 0.3, 1.0, 2.0, 3.0]
    assert learning_rate_of(slow, 0) == 0.05
    assert learning_rate_of(slow, 4) == 1.5
