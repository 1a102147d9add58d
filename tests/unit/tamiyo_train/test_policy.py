"""Deciders, the policy network, and how it is taught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import UnknownNameError
from tamiyo_runtime.contracts.observation import (
    GLOBAL_FEATURES,
    INTENSITIES,
    SLOT_FEATURES,
    Heads,
    Operation,
    observation_size,
)
from tamiyo_runtime.contracts.running import PROFILE_FEATURES, RunningState, running_vector
from tamiyo_train.config import Teaching
from tamiyo_train.jobs import decider, rebuilt
from tamiyo_train.policy.actions import WAIT, Action, Masks, Observation, choose, probabilities
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings, RandomDecider, dearest_first, drawn_settings
from tamiyo_train.policy.distribution import ActionDistribution
from tamiyo_train.policy.experience import Experience, concatenate
from tamiyo_train.policy.imitation import Learned, advantages, proposed_gates, teach
from tamiyo_train.policy.network import CLIP, HeadViews, PolicyNetwork
from tamiyo_train.policy.oracle import agreement, simulate
from tamiyo_train.seeding import initialising

HEADS = Heads(slots=4, blueprints=5)
FAST = Teaching(steps=40, batch=64, running_samples=400)


def masks(slot_bits: int, blueprint_bits: int) -> Masks:
    slot = np.array([(slot_bits >> k) & 1 for k in range(20)], dtype=np.bool_).reshape(5, 4)
    blueprint = np.array([(blueprint_bits >> k) & 1 for k in range(20)], dtype=np.bool_).reshape(4, 5)
    slot[Operation.WAIT] = False
    slot[Operation.GERMINATE] = blueprint.any(axis=1)
    return Masks(slot=slot, blueprint=blueprint)


def observation(allowed: Masks, *, loss: float = 0.0, ages: float = 0.0) -> Observation:
    vector = np.zeros(observation_size(4), dtype=np.float32)
    vector[GLOBAL_FEATURES.index("loss_level")] = loss
    for slot in range(4):
        vector[len(GLOBAL_FEATURES) + slot * len(SLOT_FEATURES) + SLOT_FEATURES.index("age")] = ages
    return Observation(vector=vector, masks=allowed)


BITS = st.integers(0, 2**20 - 1)


@settings(max_examples=60)
@given(BITS, BITS, st.integers(0, 2**31))
def test_every_decider_stays_within_the_masks(slot_bits, blueprint_bits, seed):
    allowed = masks(slot_bits, blueprint_bits)
    seen = observation(allowed, loss=1.0, ages=0.3)
    rng = np.random.default_rng(seed)
    output = rng.normal(0, 5, HEADS.size).astype(np.float32)
    for action in (
        RandomDecider(seed).decide(seen),
        KasminaMicro(drawn_settings(seed, slots=4, blueprints=5)).decide(seen),
        choose(output, allowed, HEADS),
        choose(output, allowed, HEADS, rng),
    ):
        assert allowed.allows(action)


def test_with_nothing_allowed_everybody_waits():
    seen = observation(masks(0, 0))
    assert RandomDecider(0).decide(seen) == WAIT
    assert KasminaMicro(KasminaSettings(patience=0)).decide(seen) == WAIT


def test_kasmina_grows_on_a_plateau_and_not_while_the_loss_falls():
    everything = masks(0, 2**20 - 1)
    falling = KasminaMicro(KasminaSettings(patience=2, improvement=0.1))
    assert [falling.decide(observation(everything, loss=3 - 0.5 * k)) for k in range(5)] == [WAIT] * 5
    flat = KasminaMicro(KasminaSettings(patience=2, improvement=0.1))
    decisions = [flat.decide(observation(everything, loss=1.0)).operation for _ in range(4)]
    assert decisions[:3] == [Operation.WAIT, Operation.WAIT, Operation.GERMINATE]


def test_noise_above_the_best_loss_does_not_reset_kasminas_patience():
    everything = masks(0, 2**20 - 1)
    noisy = KasminaMicro(KasminaSettings(patience=3, improvement=0.1))
    losses = [1.0, 1.5, 1.2, 1.6]
    assert noisy.decide(observation(everything, loss=losses[0])) == WAIT
    operations = [noisy.decide(observation(everything, loss=loss)).operation for loss in losses[1:]]
    assert operations[-1] is Operation.GERMINATE


class TestPreference:
    """Which blueprint the heuristics take: by what it costs in the slot, whatever list is offered."""

    def offered(self, params, allowed=None) -> Masks:
        counts = np.asarray(params, dtype=np.int64)
        blueprint = np.ones_like(counts, dtype=np.bool_) if allowed is None else np.asarray(allowed, dtype=np.bool_)
        slot = np.zeros((len(Operation), len(counts)), dtype=np.bool_)
        slot[Operation.GERMINATE] = blueprint.any(axis=1)
        return Masks(slot=slot, blueprint=blueprint, params=counts)

    def first(self, masks: Masks, kasmina: KasminaSettings | None = None) -> tuple[int, int]:
        vector = np.zeros(observation_size(len(masks.blueprint)), dtype=np.float32)
        action = KasminaMicro(kasmina or KasminaSettings(patience=0)).decide(Observation(vector=vector, masks=masks))
        assert action.operation is Operation.GERMINATE
        return action.slot, action.blueprint

    def test_the_last_slot_and_the_dearest_that_fits_come_first(self):
        params = [[0, 5, 9, 7]] * 6
        assert self.first(self.offered(params)) == (5, 2)
        allowed = [[False, True, False, True]] * 5 + [[False] * 4]
        assert self.first(self.offered(params, allowed)) == (4, 3)

    def test_what_is_dearest_depends_on_the_slot(self):
        assert self.first(self.offered([[0, 1, 2], [0, 9, 2]])) == (1, 1)
        assert self.first(self.offered([[0, 9, 2], [0, 1, 2]])) == (1, 2)

    def test_on_digits_the_order_is_that_of_what_each_adds(self, make_env):
        masks = make_env().observe().masks
        assert [dearest_first(masks, slot)[:4] for slot in range(4)] == [[4, 3, 1, 2]] * 4

    def test_a_stated_preference_and_order_are_kept(self):
        stated = KasminaSettings(patience=0, order=(1, 0), preference=(1, 2))
        assert self.first(self.offered([[0, 5, 9]] * 3), stated) == (1, 1)

    @settings(max_examples=40)
    @given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 20))
    def test_drawn_heuristics_and_chance_work_for_any_list_and_any_number_of_slots(self, seed, slots, blueprints):
        rng = np.random.default_rng(seed)
        allowed = rng.random((slots, blueprints)) < 0.5
        allowed[:, 0] = False
        masks = self.offered(rng.integers(0, 1000, (slots, blueprints)), allowed)
        seen = Observation(vector=np.zeros(observation_size(slots), dtype=np.float32), masks=masks)
        drawn = replace(drawn_settings(seed, slots=slots, blueprints=blueprints), patience=0)
        for decider_ in (KasminaMicro(drawn), RandomDecider(seed)):
            action = decider_.decide(seen)
            assert masks.allows(action)
        assert (KasminaMicro(drawn).decide(seen) == WAIT) == (not allowed.any())


def test_an_unknown_method_gets_the_near_name():
    with pytest.raises(UnknownNameError) as caught:
        decider("kasmin", seed=0, heads=Heads(slots=4, blueprints=5))
    assert "kasmina" in caught.value.near


def test_probabilities_are_nought_where_forbidden_and_sum_to_one():
    p = probabilities(np.array([100.0, 1.0, 2.0], dtype=np.float32), np.array([False, True, True]))
    assert p[0] == 0.0
    assert p.sum() == pytest.approx(1.0)
    assert p[2] > p[1]


@pytest.fixture(scope="module")
def network():
    with initialising(0):
        return PolicyNetwork(HEADS).eval()


def test_the_policy_has_twenty_to_sixty_thousand_parameters(network):
    assert 20_000 <= sum(p.numel() for p in network.parameters()) <= 60_000


@pytest.mark.parametrize("batch", [1, 7])
def test_the_output_is_laid_out_as_the_contract_says(network, batch):
    x = torch.randn(batch, observation_size(4))
    with torch.no_grad():
        out = network(x)
    assert out.shape == (batch, HEADS.size)
    assert {name: tuple(t.shape[1:]) for name, t in HeadViews(HEADS)(out).items()} == HEADS.shapes()


def test_slots_are_treated_alike_so_swapping_two_swaps_their_heads(network):
    x = torch.randn(3, observation_size(4))
    start, each = len(GLOBAL_FEATURES), len(SLOT_FEATURES)
    swapped = x.clone()
    swapped[:, start : start + each] = x[:, start + each : start + 2 * each]
    swapped[:, start + each : start + 2 * each] = x[:, start : start + each]
    with torch.no_grad():
        a, b = HeadViews(HEADS)(network(x)), HeadViews(HEADS)(network(swapped))
    order = [1, 0, 2, 3]
    assert torch.allclose(a["slot"][:, :, order], b["slot"], atol=1e-5)
    assert torch.allclose(a["blueprint"][:, order], b["blueprint"], atol=1e-5)
    assert torch.allclose(a["gates"][:, order], b["gates"], atol=1e-5)
    assert torch.allclose(a["value"], b["value"], atol=1e-5)
    assert not torch.allclose(a["gates"], b["gates"], atol=1e-3)


def test_statistics_are_frozen_into_the_network_and_extreme_inputs_stay_finite():
    with initialising(0):
        fresh = PolicyNetwork(HEADS)
    seen = torch.randn(100, observation_size(4)) * 50 + 7
    seen[:, 0] = 1.0
    fresh.freeze_statistics(seen)
    shared = len(GLOBAL_FEATURES)
    each = seen[:, shared:].reshape(-1, len(SLOT_FEATURES))
    assert torch.allclose(fresh.mean[:shared], seen[:, :shared].mean(0), atol=1e-4)
    assert torch.allclose(fresh.mean[shared:], each.mean(0).repeat(4), atol=1e-4)
    assert {"mean", "inverse_deviation"} <= set(fresh.state_dict())
    with torch.no_grad():
        assert torch.isfinite(fresh(torch.full((1, observation_size(4)), 1e12))).all()


def test_a_normalised_feature_is_clipped_at_six_deviations():
    with initialising(0):
        fresh = PolicyNetwork(HEADS).eval()
    seen = torch.randn(200, observation_size(4), generator=torch.Generator().manual_seed(1)) * 3 + 1
    fresh.freeze_statistics(seen)
    column = GLOBAL_FEATURES.index("loss_level")
    at_the_clip = fresh.mean.clone()
    at_the_clip[column] += CLIP / fresh.inverse_deviation[column]
    far, near = at_the_clip.clone(), at_the_clip.clone()
    far[column] *= 100
    near[column] = fresh.mean[column]
    with torch.no_grad():
        answers = [fresh(row[None]) for row in (at_the_clip, far, near)]
    assert torch.allclose(answers[0], answers[1], atol=1e-5)
    assert not torch.allclose(answers[0], answers[2], atol=1e-3)


def taught_network() -> tuple[PolicyNetwork, torch.Tensor]:
    network, _ = teach(experience(), heads=HEADS, config=FAST, seed=0)
    return network, torch.from_numpy(simulate(64, 4, seed=5).observation)


def test_a_policy_serves_any_number_of_slots_and_padding_changes_nothing():
    network, seen = taught_network()
    wider = network.with_slots(6)
    padded = torch.cat([seen, torch.zeros(len(seen), 2 * len(SLOT_FEATURES))], 1)
    with torch.no_grad():
        a, b = HeadViews(HEADS)(network(seen)), HeadViews(wider.heads)(wider(padded))
    for name in ("operation", "value", "intensity", "safety"):
        assert torch.allclose(a[name], b[name], atol=1e-5), name
    assert torch.allclose(a["slot"], b["slot"][:, :, :4], atol=1e-5)
    assert torch.allclose(a["gates"], b["gates"][:, :4], atol=1e-5)


def test_the_value_head_can_change_its_unit_and_nothing_else():
    network, seen = taught_network()
    with torch.no_grad():
        before = HeadViews(HEADS)(network(seen))
        network.rescale_value(factor=3.0, shift=-1.0)
        after = HeadViews(HEADS)(network(seen))
    assert torch.allclose(after["value"], 3 * before["value"] - 1, atol=1e-5)
    assert all(torch.equal(before[name], after[name]) for name in before if name != "value")


def test_a_blueprint_that_was_never_taught_is_the_last_choice_wherever_another_is_allowed():
    network, seen = taught_network()
    network.forget_blueprints([2, 4])
    with torch.no_grad():
        order = HeadViews(HEADS)(network(seen))["blueprint"].argsort(2)
    assert set(order[:, :, :2].flatten().tolist()) == {2, 4}


def test_a_feature_that_never_varied_is_centred_and_not_scaled():
    with initialising(0):
        fresh = PolicyNetwork(HEADS)
    seen = torch.full((50, observation_size(4)), 0.3)
    fresh.freeze_statistics(seen)
    assert torch.allclose(fresh.mean, seen[0])
    assert torch.equal(fresh.inverse_deviation, torch.ones(observation_size(4)))


def test_frozen_statistics_travel_with_the_weights_and_no_training_step_moves_them():
    network, _ = teach(experience(), heads=HEADS, config=FAST, seed=0)
    names = {name for name, _ in network.named_parameters()}
    assert not {"mean", "inverse_deviation"} & names
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copy = rebuilt(state, HEADS)
    assert torch.equal(copy.mean, network.mean)
    assert torch.equal(copy.inverse_deviation, network.inverse_deviation)
    x = torch.randn(4, observation_size(4))
    with torch.no_grad():
        assert torch.equal(copy(x), network(x))


def experience(count: int = 60, *, seed: int = 0) -> Experience:
    """Pairs of decisions on one observation: germinating in slot 2 with blueprint 4 went well, waiting did not."""
    rng = np.random.default_rng(seed)
    good = np.arange(count) % 2 == 0
    action = np.zeros((count, 4), dtype=np.int64)
    action[good] = (Operation.GERMINATE, 2, 4, 3)
    return Experience(
        observation=rng.normal(size=(count // 2, observation_size(4))).astype(np.float32).repeat(2, axis=0),
        slot_mask=np.stack([masks(2**20 - 1, 2**20 - 1).slot] * count),
        blueprint_mask=np.stack([masks(2**20 - 1, 2**20 - 1).blueprint] * count),
        action=action,
        utility=np.where(good, 0.95, 0.80).astype(np.float32),
        group=np.zeros(count, dtype=np.int64),
        safety=np.zeros((count, 3), dtype=np.float32),
        hardware=np.ones((count, 2), dtype=np.float32),
    )


@settings(max_examples=25, deadline=None)
@given(BITS, BITS, st.integers(0, 2**31))
def test_the_likelihood_is_that_of_the_sampling_distribution(slot_bits, blueprint_bits, seed):
    """Summed over all legal actions, exp(ln p) is 1, with a floor as well, and illegal ones get nothing."""
    allowed = masks(slot_bits, blueprint_bits)
    legal = [WAIT]
    for operation in (Operation.ADVANCE, Operation.PRUNE, Operation.FOSSILISE):
        legal += [Action(operation=operation, slot=int(s)) for s in np.flatnonzero(allowed.slot[operation])]
    for slot, blueprint in np.argwhere(allowed.blueprint):
        legal += [
            Action(operation=Operation.GERMINATE, slot=int(slot), blueprint=int(blueprint), intensity=k)
            for k in range(len(INTENSITIES))
        ]
    rows = torch.tensor([(a.operation, a.slot, a.blueprint, a.intensity) for a in legal])
    output = torch.randn(1, HEADS.size, generator=torch.Generator().manual_seed(seed)).expand(len(legal), -1)
    slot, blueprint = (
        torch.from_numpy(mask).expand(len(legal), *mask.shape) for mask in (allowed.slot, allowed.blueprint)
    )
    for floor in (0.0, 0.3):
        chosen = ActionDistribution(HeadViews(HEADS)(output), slot, blueprint, floor)
        assert float(chosen.log_probability(rows).double().exp().sum()) == pytest.approx(1.0, abs=1e-4)
        for illegal in (Action(operation=o, slot=s) for o in (Operation.ADVANCE, Operation.PRUNE) for s in range(4)):
            if not allowed.allows(illegal) and allowed.operation[illegal.operation]:
                row = torch.tensor([[illegal.operation, illegal.slot, 0, 0]]).expand(len(legal), -1)
                assert float(chosen.log_probability(row).max()) < -1e6


def test_what_went_well_weighs_more_and_hosts_are_not_compared_with_each_other():
    utility = np.array([0.9, 0.8, 0.5, 0.4], dtype=np.float32)
    group = np.array([0, 0, 1, 1])
    weights = advantages(utility, group, Teaching())
    assert weights[0] > weights[1]
    assert weights[2] > weights[3]
    assert weights[0] == pytest.approx(weights[2], rel=1e-4)
    assert weights.mean() == pytest.approx(1.0, abs=1e-6)
    assert np.allclose(advantages(np.full(4, 0.7, dtype=np.float32), group, Teaching()), 1.0)


def test_cloning_learns_to_do_what_went_well_and_to_tell_its_value():
    data = experience()
    network, lesson = teach(data, heads=HEADS, config=replace(FAST, steps=100), seed=0)
    everything = masks(2**20 - 1, 2**20 - 1)
    actions = [
        Learned(network).decide(Observation(vector=vector, masks=everything)) for vector in data.observation[:20]
    ]
    chosen = [a for a in actions if a == Action(operation=Operation.GERMINATE, slot=2, blueprint=4, intensity=3)]
    assert len(chosen) >= 18
    assert lesson.decisions == 60
    assert lesson.value_loss < 0.05
    with torch.no_grad():
        value = network(torch.from_numpy(data.observation))[:, HEADS.slices()["value"]].mean()
    assert float(value) == pytest.approx(0.875, abs=0.1)


def test_the_same_seed_teaches_the_same_policy():
    first, _ = teach(experience(), heads=HEADS, config=FAST, seed=3)
    again, _ = teach(experience(), heads=HEADS, config=FAST, seed=3)
    other, _ = teach(experience(), heads=HEADS, config=FAST, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_experience_of_several_episodes_keeps_its_order():
    both = concatenate([experience(4, seed=1), experience(6, seed=2)])
    assert len(both) == 10
    assert np.array_equal(both.observation[4:], experience(6, seed=2).observation)


def test_agreement_with_itself_is_perfect_and_with_everything_on_is_not():
    samples = simulate(300, 4, seed=1)
    perfect = agreement(samples, samples.gates)
    assert (perfect.gates, perfect.exact) == (1.0, 1.0)
    assert perfect.regret == pytest.approx(0.0, abs=1e-9)
    greedy = agreement(samples, samples.present)
    assert greedy.exact < 0.6
    assert greedy.regret > 0.005


def test_the_gate_head_learns_the_plan():
    network, lesson = teach(None, heads=HEADS, config=Teaching(steps=250, running_samples=2500), seed=0)
    assert lesson.agreement.gates > 0.9
    held_out = simulate(300, 4, seed=99)
    own = agreement(held_out, proposed_gates(network, held_out.observation))
    everything = agreement(held_out, held_out.present)
    nothing = agreement(held_out, np.zeros_like(held_out.present))
    assert own.gates > max(everything.gates, nothing.gates) + 0.1
    assert own.regret < 0.5 * min(everything.regret, nothing.regret)


def test_where_nothing_is_scarce_the_gates_keep_what_helps_however_accurate_the_network_is_already():
    network, _ = teach(None, heads=HEADS, config=Teaching(steps=350, running_samples=4000), seed=1)
    state = RunningState(
        present=(True,) * 4,
        on=(True,) * 4,
        contributions=(0.03, 0.3, 0.1, 0.02),  # as of a network that was grown on digits
        relative_params=(1.6, 1.6, 0.4, 6.2),
        relative_macs=(4.6, 4.6, 0.2, 4.6),
        seed_latency_ms=(0.015, 0.015, 0.008, 0.015),
        host_latency_ms=0.03,
        full_latency_ms=0.083,
        current_latency_ms=0.083,
        deadline_ms=5.0,
        power_budget_mw=250.0,
        host_power_mw=0.04,
        full_power_mw=0.1,
        accuracy=0.978,
        profile=dict.fromkeys(PROFILE_FEATURES, 3.4),
    )
    for on in ((True,) * 4, (False,) * 4, (False, True, True, False)):
        seen = np.array([running_vector(replace(state, on=on))], dtype=np.float32)
        assert proposed_gates(network, seen).all(), on
