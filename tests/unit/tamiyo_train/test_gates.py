"""Gates: what a newborn must show, what blending asks for, what a seed must be worth to stay."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tamiyo_runtime.contracts.errors import BudgetError, IncompatibleError, InputError, UsageError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.admission import check_tensors
from tamiyo_train.blueprints import Blueprint, Domain, blueprints
from tamiyo_train.channel_gate import OPEN, ChannelGate, settled
from tamiyo_train.config import Episode
from tamiyo_train.evaluation import Scores, score
from tamiyo_train.gates import probe_at_birth, proven_gain, ready_to_blend
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.pricing import GrowthBudget
from tamiyo_train.seed import Seed
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import image, joint, sequence, vector
from tamiyo_train.worth import worth_of
from tests.unit.tamiyo_train.helpers import SHORT, same, tensors_of

PLACE = image(4, 8, 8)
MORE = (joint(16, 1), vector(12, carried=(4,)), vector(20, carried=(4, 4)), vector(22, carried=(1, 4, 4)))


def scores(sureness: torch.Tensor) -> Scores:
    return Scores(correct=sureness > 0.5, sureness=sureness, loss=float(-sureness.log().mean()))


@pytest.mark.parametrize("name", sorted(blueprints.names()))
def test_every_registered_blueprint_passes_the_probe_and_leaves_no_trace(name):
    blueprint = blueprints.get(name)
    place = next(p for p in (PLACE, sequence(8, 12), vector(12), joint(16, 4), *MORE) if blueprint.misfit(p) is None)
    with initialising(0):
        module = blueprint.build(place)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    drawn = torch.random.get_rng_state()
    assert probe_at_birth(module, place, blueprint) is None
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(param.grad is None for param in module.parameters())


class Doubled(nn.Module):
    def forward(self, x):
        return x.add_(0.0) * 1.0 if self.training else x.mul_(2.0) / 2.0


def test_the_probe_sees_a_seed_that_changes_its_input():
    assert "in place" in str(probe_at_birth(Doubled(), PLACE))


def test_blending_asks_for_a_gradient_that_is_finite_and_not_lost_and_for_a_lower_loss():
    better, worse = scores(torch.full((8,), 0.9)), scores(torch.full((8,), 0.6))
    assert ready_to_blend(better, worse, own=0.1, host=1.0, least_ratio=0.02)
    assert not ready_to_blend(worse, better, own=0.1, host=1.0, least_ratio=0.02)
    assert not ready_to_blend(better, worse, own=0.01, host=1.0, least_ratio=0.02)
    for own, host in ((math.nan, 1.0), (0.1, math.inf), (None, 1.0), (0.1, None)):
        assert not ready_to_blend(better, worse, own=own, host=host, least_ratio=0.0)


@given(st.integers(1, 6))
def test_more_evaluations_narrow_the_bound_and_keep_the_mean(count):
    drawn = torch.Generator().manual_seed(count)
    evidence = [0.05 + 0.2 * torch.randn(120, generator=drawn) for _ in range(count)]
    gain, low = proven_gain(evidence, confidence=1.645)
    assert gain == pytest.approx(float(torch.stack(evidence).double().mean()))
    assert low < gain
    if count > 3:
        assert gain - low < 0.8 * (evidence[0].std() * 1.645 / math.sqrt(120))


def test_a_seed_earns_its_place_by_its_loss_and_by_its_size():
    without = scores(torch.linspace(0.5, 0.7, 100))
    helpful = scores(torch.linspace(0.55, 0.75, 100))
    assert worth_of(helpful, without, share=0.5, confidence=1.645).earns(0.01)
    assert not worth_of(without, without, share=0.0, confidence=1.645).earns(0.01)
    assert not worth_of(without, helpful, share=0.0, confidence=1.645).earns(0.01)
    barely = worth_of(helpful, without, share=0.5, confidence=1.645)
    assert not barely.earns(100.0)


class TestChannelGate:
    def seed(self, name: str) -> nn.Module:
        with initialising(1):
            module = blueprints.get(name).build(PLACE)
            for param in module.parameters():
                nn.init.normal_(param, std=0.3)
        return module

    def test_is_almost_the_identity_at_first(self):
        x = torch.randn(4, 4, 8, 8)
        gate = ChannelGate(self.seed("bottleneck"), PLACE)
        inner = gate.inner(x)
        assert float((gate(x) - x).detach().abs().max()) < 0.02 * float((inner - x).detach().abs().max())

    def test_carried_channels_pass_as_they_are(self):
        place = vector(10, carried=(4,))
        with initialising(1):
            inner = blueprints.get("bottleneck").build(place)
        x = torch.randn(3, 10)
        gate = ChannelGate(inner, place)
        assert gate.logit.shape == (6,)
        assert torch.equal(gate(x)[:, 6:], x[:, 6:])

    @pytest.mark.parametrize("name", ["bottleneck", "depthwise", "wide-conv"])
    def test_is_folded_into_the_last_projection_without_a_change(self, name):
        x = torch.randn(16, 4, 8, 8)
        gate = ChannelGate(self.seed(name), PLACE)
        with torch.no_grad():
            gate.logit.copy_(torch.tensor([-2.0, 0.0, 1.0, 4.0]))
        with torch.no_grad():
            expected = gate(x)
            module, folded = settled(gate, x)
            assert folded
            assert module is gate.inner
            assert torch.allclose(module(x), expected, atol=1e-5)

    def test_is_taken_away_when_all_channels_are_open_or_nothing_can_hold_it(self):
        x = torch.randn(16, 4, 8, 8)
        gate = ChannelGate(self.seed("bottleneck"), PLACE)
        before = {key: tensor.clone() for key, tensor in gate.inner.state_dict().items()}
        with torch.no_grad():
            gate.logit.fill_(math.log(OPEN / (1 - OPEN)) + 0.01)
        assert settled(gate, x) == (gate.inner, False)
        assert all(torch.equal(before[key], tensor) for key, tensor in gate.inner.state_dict().items())
        assert settled(ChannelGate(self.seed("squeeze-excite"), PLACE), x)[1] is False

    def test_a_whole_life_through_a_learned_gate_ends_without_one(self, make_env):
        config = Episode(steps=120, decisions=12, consolidation_steps=0, batch=64, blending="gate", gate_windows=2.0)
        env = make_env(config)
        env.act(Action(operation=Operation.GERMINATE, slot=3, blueprint=1, intensity=3))
        env.network.lives[3].state  # noqa: B018  (a life is there)
        env.gardener.advance(env.reading, 3)
        assert isinstance(env.network.seed_at(3).module, ChannelGate)
        assert [group["name"] for group in env.trainer.optimiser.param_groups] == ["host", "seed_3", "gate_3"]
        env.act(WAIT)
        assert float(env.network.seed_at(3).module.openness().max()) > 0.02
        env.act(WAIT)
        env.act(WAIT)
        assert not isinstance(env.network.seed_at(3).module, ChannelGate)
        assert [group["name"] for group in env.trainer.optimiser.param_groups] == ["host", "seed_3"]
        assert env.network.lives[3].state is State.PROBATIONARY


def test_probation_lasts_as_many_evaluations_as_are_asked_for(make_env):
    env = make_env(replace(SHORT, evaluations=3))
    env.act(Action(operation=Operation.GERMINATE, slot=3, blueprint=1, intensity=3))
    env.gardener.advance(env.reading, 3)
    counted = []
    for _ in range(5):
        env.act(WAIT)
        counted.append(len(env.network.seed_at(3).evidence))
    first = counted.index(1)
    assert counted[first : first + 3] == [1, 2, 3]
    seed = env.network.seed_at(3)
    seed.evidence = seed.evidence[:2]
    assert not env.gardener.masks(env.reading).slot[Operation.FOSSILISE, 3]


def planted(env, slot: int) -> None:
    """A fossilised seed that does nothing at all."""
    blueprint = blueprints.get("bottleneck")
    life, place = env.network.lives[slot], env.network.host.places[slot]
    for event in (Event.GERMINATE, Event.PROBE_PASSED, Event.ADVANCE, Event.BLENDED, Event.SHADOWED, Event.FOSSILISE):
        life.fire(event, step=0, reason="test")
    with initialising(slot):
        module = blueprint.build(place)
    env.trainer.plant(slot, Seed(blueprint=blueprint, module=module, rate=1.0, born_step=0, alpha=1.0))


def test_a_fossilised_seed_that_does_nothing_is_retired_and_the_network_is_no_worse(make_env):
    env = make_env()
    planted(env, 1)
    before = score(env.network, env.trainer.data.gate).accuracy
    assert env.retire_idle() == (1,)
    assert env.network.seeds[1] is None
    assert env.network.lives[1].state is State.EMBARGOED
    assert score(env.network, env.trainer.data.gate).accuracy >= before
    assert [e.data["event"] for e in env.audit.entries if e.kind == "transition"][-2:] == ["retire", "embargo"]


def test_a_retirement_that_would_cost_accuracy_is_undone_bit_by_bit(make_env):
    env = make_env(Episode(steps=160, decisions=8, consolidation_steps=0, batch=64, gate_dropout=0.0, utilisation=1e9))
    planted(env, 3)
    with torch.no_grad():
        for param in env.network.seed_at(3).module.parameters():
            nn.init.normal_(param, std=0.5)
    for _ in range(7):  # never without the seed, so that the network comes to lean on it
        env.act(WAIT)
    before, states = tensors_of(env), [life.state for life in env.network.lives]
    assert env.retire_idle() == ()
    assert same(before, tensors_of(env))
    assert [life.state for life in env.network.lives] == states
    assert env.audit.entries[-1].kind == "rollback"


def test_what_prune_should_take_is_the_seed_worth_least(make_env):
    env = make_env()
    env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=1, intensity=2))
    env.act(Action(operation=Operation.GERMINATE, slot=3, blueprint=4, intensity=2))
    worth = {slot: env.gardener.gain(env.reading, slot)[0] - env.gardener.price(slot) for slot in (1, 3)}
    assert env.gardener.least_worth(env.reading) == min(worth, key=lambda slot: worth[slot])
    assert env.gardener.least_worth(env.reading, State.FOSSILISED) is None


class TestBadInput:
    """Each names what is wrong, and nothing has changed then."""

    def refused(self, env, error, match, *, slot=1, blueprint=1, intensity=2):
        before, entries = tensors_of(env), len(env.audit.entries)
        with pytest.raises(error, match=match):
            env.act(Action(operation=Operation.GERMINATE, slot=slot, blueprint=blueprint, intensity=intensity))
        assert same(before, tensors_of(env))
        assert len(env.audit.entries) == entries

    def test_a_blueprint_in_a_wrong_domain(self, make_env):
        env = make_env()
        alien = replace(blueprints.get("bottleneck"), name="alien", domains=frozenset({Domain.VECTOR}))
        env.gardener.blueprints = (*env.gardener.blueprints, alien)
        number = len(env.gardener.blueprints) - 1
        self.refused(env, IncompatibleError, "'alien' works on vector; .* slot is image", blueprint=number)

    def test_a_slot_that_is_taken(self, make_env):
        env = make_env()
        env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=1, intensity=2))
        self.refused(env, UsageError, "slot 1 .* taken by 'bottleneck', training")

    def test_a_slot_blueprint_or_intensity_that_is_not_there(self, make_env):
        env = make_env()
        self.refused(env, UsageError, "no slot 9", slot=9)
        self.refused(env, UsageError, "blueprint 0", blueprint=0)
        self.refused(env, UsageError, "intensity 7", intensity=7)

    def test_a_budget_that_is_spent(self, make_env):
        env = make_env(budget=GrowthBudget(params=430, macs=10**9))
        self.refused(env, BudgetError, "params 3022 of 430", slot=3, blueprint=self.number(env, "wide-conv"))

    def number(self, env, name: str) -> int:
        return [blueprint.name for blueprint in env.gardener.blueprints].index(name)

    def test_samples_that_are_not_finite_or_a_class_that_is_missing(self, make_env, data):
        check_tensors(data)
        bad = data.gate.x.clone()
        bad[5, 0, 0, 0] = math.nan
        with pytest.raises(InputError, match="gate split: sample 5"):
            check_tensors(replace(data, gate=replace(data.gate, x=bad)))
        variants = data.variants.clone()
        variants[2, 7] = math.inf
        with pytest.raises(InputError, match="train split: sample 7"):
            check_tensors(replace(data, variants=variants))
        with pytest.raises(InputError, match="train split: no sample of class 4"):
            check_tensors(replace(data, train_y=torch.where(data.train_y == 4, 3, data.train_y)))
        with pytest.raises(InputError, match="labels lie in"):
            check_tensors(replace(data, test=replace(data.test, y=data.test.y + 1)))
        with pytest.raises(InputError, match="it is empty"):
            check_tensors(replace(data, score=replace(data.score, x=data.score.x[:0], y=data.score.y[:0])))


def test_a_loud_blueprint_never_reaches_the_network(make_env):
    env = make_env()
    loud = Blueprint(
        name="loud",
        summary="",
        domains=frozenset(Domain),
        build=lambda slot: (_ for _ in ()).throw(KeyError("no such layer")),
        layers=lambda slot: (),
    )
    env.gardener.blueprints = (*env.gardener.blueprints, loud)
    before = tensors_of(env)
    env.gardener.germinate(0, len(env.gardener.blueprints) - 1, 2)
    assert same(before, tensors_of(env))
    assert env.network.lives[0].state is State.EMBARGOED
    assert "cannot be built: KeyError" in [e.data.get("reason", "") for e in env.audit.entries][-2]
