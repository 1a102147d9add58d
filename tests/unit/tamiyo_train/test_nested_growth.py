"""Seeds in seeds: slots that open, lives of their own, a budget that is inherited and split, rollbacks to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import BudgetError, UsageError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.allotment import Allotment, allotment
from tamiyo_train.audit import verify
from tamiyo_train.blueprints import blueprints
from tamiyo_train.config import Episode, Limits
from tamiyo_train.evaluation import score, without
from tamiyo_train.footprint import Footprint
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.resume import restore, state_of
from tamiyo_train.seed import Seed
from tamiyo_train.seeding import initialising
from tamiyo_train.snapshot import Snapshot, digest
from tests.unit.tamiyo_train.helpers import same, tensors_of

LENIENT = Limits(drift_hold=3.0, drift_critical=3.0, norm_hold=50.0, norm_critical=50.0)
"""Seeds are planted with random weights here, which is what the governor is there to take back."""
NESTING = Episode(
    steps=160, decisions=16, consolidation_steps=0, batch=32, blend_windows=0.5, nested_slots=4, limits=LENIENT
)
LIFE = (Event.GERMINATE, Event.PROBE_PASSED, Event.ADVANCE, Event.BLENDED, Event.SHADOWED)


def number(env, name: str) -> int:
    names = [blueprint.name for blueprint in env.gardener.blueprints]
    if name not in names:
        env.gardener.blueprints = (*env.gardener.blueprints, blueprints.get(name))
    return [blueprint.name for blueprint in env.gardener.blueprints].index(name)


def fossilised(env, slot: int, name: str = "nested") -> None:
    """A seed that has come to stay, by all the steps of its life but without their gates; its weights are random."""
    network, blueprint = env.network, blueprints.get(name)
    step = env.trainer.step_index
    for event in LIFE:
        network.lives[slot].fire(event, step=step, reason="test")
    with initialising(slot):
        module = blueprint.build(network.place(slot))
        for param in module.parameters():
            torch.nn.init.normal_(param, std=0.1)
    env.trainer.plant(slot, Seed(blueprint=blueprint, module=module, rate=1.0, born_step=step, alpha=1.0))
    env.measure()
    env.gardener.fossilise(env.reading, slot)
    env.measure()


@pytest.fixture
def env(make_env):
    return make_env(NESTING)


def test_inner_slots_are_illegal_until_a_nested_seed_is_fossilised(env):
    masks = env.observe().masks
    assert masks.slot.shape[1] == 8
    assert not masks.slot[:, 4:].any()
    with pytest.raises(UsageError, match="no slot 4"):
        env.act(Action(operation=Operation.GERMINATE, slot=4, blueprint=1, intensity=2))
    fossilised(env, 2)
    masks = env.observe().masks
    assert masks.slot[Operation.GERMINATE].tolist() == [True, True, False, True, True, True, False, False]
    assert [env.network.lives[slot].path for slot in (2, 4, 5)] == ["2", "2.0", "2.1"]


def test_a_seed_inside_a_seed_lives_a_life_of_its_own_and_is_audited_by_its_path(env):
    fossilised(env, 2)
    before = {name: tensor.clone() for name, tensor in env.network.seed_at(2).module.state_dict().items()}
    outcome = score(env.network, env.trainer.data.gate).loss
    env.gardener.germinate(4, number(env, "bottleneck"), 3)
    assert score(env.network, env.trainer.data.gate).loss == outcome  # a newborn changes nothing
    env.act(WAIT)
    after = env.network.seed_at(2).module.state_dict()
    assert set(after) > set(before)
    env.gardener.advance(env.reading, 4)
    for _ in range(3):
        env.act(WAIT)
    assert env.network.lives[4].state is State.PROBATIONARY
    assert env.network.alphas()[4] == 1.0
    moved = [entry.data for entry in env.audit.entries if entry.data.get("path") == "2.0"]
    assert [data["event"] for data in moved] == ["germinate", "probe_passed", "advance", "blended", "shadowed"]
    alphas = env.network.alphas()
    x = env.trainer.data.gate
    assert score(env.network, x).loss != score(env.network, x, without(alphas, 4)).loss
    assert env.network.seed_at(2).module.alphas[0] == 1.0  # left as it was by asking what would be without it
    verify(env.audit.entries)


def test_a_rollback_restores_what_grew_inside_a_seed_bit_by_bit(env):
    fossilised(env, 2)
    env.gardener.germinate(4, number(env, "bottleneck"), 3)
    env.act(WAIT)
    snapshot, before, state = Snapshot(env.trainer), tensors_of(env), digest(env.trainer)
    losses = [env.trainer.step().loss for _ in range(3)]
    env.gardener.cull(4, "test")
    env.gardener.germinate(5, number(env, "depthwise"), 3)
    env.gardener.retire(2, "test")
    assert env.network.place(4) is None
    snapshot.restore(env.trainer)
    assert same(before, tensors_of(env))
    assert digest(env.trainer) == state
    assert [env.trainer.step().loss for _ in range(3)] == losses


def test_a_rollback_finds_its_way_where_a_seed_has_a_lower_number_than_the_one_it_lies_in(env):
    """Numbers are given anew: here slot 4 lies in slot 6, which lies in slot 2."""
    fossilised(env, 1)
    fossilised(env, 2)
    env.gardener.retire(1, "test")
    fossilised(env, 6)
    env.gardener.germinate(4, number(env, "bottleneck"), 3)
    assert [env.network.lives[slot].path for slot in (6, 4)] == ["2.0", "2.0.0"]
    env.act(WAIT)
    snapshot, before, state = Snapshot(env.trainer), tensors_of(env), digest(env.trainer)
    document, tensors = state_of(env)
    losses = [env.trainer.step().loss for _ in range(3)]
    restore(env, document, tensors)
    assert digest(env.trainer) == state
    snapshot.restore(env.trainer)  # with all of them in place
    env.gardener.retire(2, "test")
    snapshot.restore(env.trainer)  # with none of them
    assert same(before, tensors_of(env))
    assert digest(env.trainer) == state
    assert [env.trainer.step().loss for _ in range(3)] == losses


def test_what_a_governor_takes_back_inside_a_seed_leaves_the_seed_around_it(env):
    fossilised(env, 2)
    env.gardener.germinate(5, number(env, "bottleneck"), 3)
    env.mark()
    state = digest(env.trainer)
    seen: list[str] = []
    env.on_restored = lambda: seen.append(digest(env.trainer))
    with torch.no_grad():
        next(env.network.seed_at(5).module.parameters()).fill_(float("nan"))
    assert env.train(4) is None
    assert env.safety_events == 1
    assert seen == [state]
    assert env.network.lives[5].state is State.EMBARGOED
    assert env.network.lives[2].state is State.FOSSILISED
    assert all(bool(torch.isfinite(param).all()) for param in env.network.parameters())


def test_seeds_nest_three_deep_and_no_deeper(env):
    fossilised(env, 2)
    fossilised(env, 4)
    assert env.network.lives[6].path == "2.0.0"
    assert env.network.ancestors(6) == (4, 2)
    fossilised(env, 6)
    assert env.network.rooms(6) == 0
    assert env.network.inside(6) == ()
    assert env.observe().vector.shape[0] > 0


def test_a_seed_that_goes_takes_what_grows_inside_it_along(env):
    fossilised(env, 2)
    fossilised(env, 4)
    env.gardener.germinate(5, number(env, "bottleneck"), 3)
    env.gardener.retire(2, "test")
    assert [seed is None for seed in env.network.seeds] == [True] * 8
    assert [env.network.place(slot) for slot in range(4, 8)] == [None] * 4
    assert [life.state for life in env.network.lives[4:]] == [State.DORMANT] * 4
    assert {group["name"] for group in env.trainer.optimiser.param_groups} == {"host"}
    verify(env.audit.entries)


def test_children_never_take_more_than_the_seed_around_them_left(env):
    env.gardener.budget = replace(env.budget, params=422 + 4 * 120)
    fossilised(env, 3)
    left = allotment(env.network, env.gardener.budget, 4)
    own = Footprint.of(blueprints.get("nested").layers(env.network.host.places[3]))
    assert 2 * left.params <= 120 - own.params if own.params < 120 else left.params == 0
    with pytest.raises(BudgetError, match="the seed around it left"):
        env.gardener.germinate(4, number(env, "wide-conv"), 2)
    assert env.network.lives[4].state is State.DORMANT


@given(
    params=st.integers(0, 10**6),
    macs=st.integers(0, 10**6),
    used=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    ways=st.integers(1, 4),
)
def test_the_parts_of_a_split_never_exceed_the_remainder(params, macs, used, ways):
    cost = Footprint(params=used[0], macs=used[1], activation_bytes=0)
    part = Allotment(params=params, macs=macs).split(ways, used=cost)
    assert 0 <= ways * part.params <= max(0, params - used[0])
    assert 0 <= ways * part.macs <= max(0, macs - used[1])


def test_the_cost_of_a_network_counts_what_grows_inside_its_seeds(env):
    fossilised(env, 2)
    alone = Footprint.of(layer for piece in env.network.graphs() for layer in piece).params
    env.gardener.germinate(4, number(env, "bottleneck"), 3)
    inner = Footprint.of(env.network.layers_at(4, blueprints.get("bottleneck"))).params
    assert Footprint.of(layer for piece in env.network.graphs() for layer in piece).params == alone + inner
    assert len(env.network.graphs()) == 6  # still one piece a seed of the host


def test_a_seed_is_exported_with_what_grew_inside_it(env):
    fossilised(env, 2)
    fossilised(env, 4, "bottleneck")
    score(env.network, env.trainer.data.gate)
    module = env.network.seed_at(2).module.eval()
    exported = blueprints.get("nested").deploy(module)
    x = torch.randn(8, *env.network.host.places[2].shape)
    with torch.no_grad():
        assert torch.allclose(exported(x), module(x), atol=1e-6)
        module.set_alpha(0, 0.0)
        assert not torch.allclose(exported(x), module(x), atol=1e-3)
    params = sum(param.numel() for param in exported.parameters())
    assert params == Footprint.of(env.network.graphs()[3]).params
