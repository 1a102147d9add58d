"""Lanes: converted either way, refilled while others go on, tended by gates; what cannot be batched is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError, SchemaError, TamiyoError
from tamiyo_train.blueprints import Blueprint, Domain, blueprints
from tamiyo_train.evaluation import score
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.population import Job, Population, trained
from tamiyo_train.population.draws import Draws
from tamiyo_train.population.plan import rate_table
from tamiyo_train.population.tending import Planting, Tending
from tamiyo_train.pricing import GrowthBudget, Pricer
from tamiyo_train.seed import GrownNetwork
from tests.unit.tamiyo_train.population.helpers import EPISODE, Ordinary, builder, population, spirals, worst

BOTTLENECK = blueprints.get("bottleneck")


def test_the_schedule_of_rates_is_the_ordinary_trainers():
    trainer, table = Ordinary(0).trainer, rate_table(EPISODE)
    for trainer.step_index in range(EPISODE.total_steps):
        expected = trainer.learning_rate()
        assert EPISODE.learning_rate * float(table[trainer.step_index]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["bottleneck", "low-rank", "glu", "squeeze-excite", "residual-mlp"])
def test_a_network_loaded_into_a_lane_comes_out_as_it_was_and_answers_as_it_did(name):
    lanes = population(families=("residual", "squeeze-excite", "glu"), inner=12, host="mlp-skip")
    source = Ordinary(7, host="mlp-skip").network
    ordinary = Ordinary(8, host="mlp-skip")
    ordinary.germinate(2, name)
    for _ in range(5):
        ordinary.trainer.step()
    ordinary.network.seed_at(2).alpha = 0.6
    for lane, network in ((0, source), (1, ordinary.network)):
        lanes.load(lane, network, seed=9, step=5)
        back = lanes.to_network(lane)
        assert worst(back, network) == 0.0
        assert back.alphas() == network.alphas()
        assert [life.state for life in back.lives] == [life.state for life in network.lives]
        there, here = lanes.score(lanes.data.gate)[lane], score(network, lanes.data.gate)
        assert there.loss == pytest.approx(here.loss, abs=1e-5)
        assert torch.allclose(there.sureness, here.sureness, atol=1e-5)
    assert lanes.at(1).seed_at(2).blueprint.name == name


def test_padding_stays_nought_while_the_seed_in_it_learns():
    lanes = population(inner=12)
    lanes.germinate(0, 1, blueprints.get("low-rank"))
    lanes.train(20)
    lanes.fire(0, 1, Event.ADVANCE, "test")
    lanes.train(40)
    inner = lanes.to_network(0).seed_at(1).module.down.out_features
    assert inner < 12
    (down, below), (up, _) = lanes.engine.net.seeds[1][0]
    assert float(up[0, :, :inner].abs().max()) > 0
    assert not down[0, inner:].any()
    assert not below[0, inner:].any()
    assert not up[0, :, inner:].any()


def test_a_newborn_has_moments_of_its_own_and_a_culled_one_leaves_none():
    lanes = population()
    lanes.germinate(0, 1, BOTTLENECK)
    lanes.train(20)
    assert lanes.engine.seeds.square[0, 1].any()
    lanes.cull(0, 1, "test")
    for tensor in (lanes.engine.seeds.params, lanes.engine.seeds.mean, lanes.engine.seeds.square):
        assert not tensor[0, 1].any()
    assert lanes.at(0).lives[1].state is State.EMBARGOED
    lanes.release(0)
    assert lanes.at(0).lives[1].state is State.EMBARGOED
    lanes.train(EPISODE.embargo_windows * EPISODE.window)
    lanes.release(0)
    assert lanes.at(0).lives[1].state is State.DORMANT


def test_finished_lanes_get_the_next_host_while_the_others_go_on():
    short = replace(EPISODE, steps=32, decisions=4, consolidation_steps=8)
    lanes = Population(builder(), spirals(), short, lanes=2)
    jobs = [Job(seed=seed, learning_rate=1e-2 * (1 + seed)) for seed in range(5)]
    refilled = {}
    for job, lane in trained(lanes, jobs, window=16):
        assert lanes.at(lane).step_index == short.total_steps
        refilled[job.seed] = lanes.to_network(lane)
    assert sorted(refilled) == [0, 1, 2, 3, 4]
    alone = Population(builder(), spirals(), short, lanes=1)
    alone.fill(0, seed=4, learning_rate=5e-2)
    alone.train(short.total_steps)
    assert worst(refilled[4], alone.to_network(0)) < 1e-6


def test_a_lane_at_its_horizon_rests():
    lanes = population()
    lanes.train(EPISODE.total_steps)
    before = lanes.to_network(1)
    lanes.fill(0, seed=5)
    lanes.train(10)
    assert worst(before, lanes.to_network(1)) == 0.0
    assert lanes.finished == (1, 2)


def test_a_clone_starts_where_its_source_is_and_goes_its_own_way():
    lanes = population()
    lanes.germinate(0, 1, BOTTLENECK)
    lanes.train(20)
    lanes.clone(0, {2: 77})
    assert worst(lanes.to_network(0), lanes.to_network(2)) == 0.0
    assert lanes.at(2).seed_at(1) == lanes.at(0).seed_at(1)
    lanes.train(5)
    assert worst(lanes.to_network(0), lanes.to_network(2)) > 0.0


def test_hashed_batches_depend_on_the_lanes_seed_and_step_alone():
    few = population(lanes=1, draws=Draws.HASHED)
    many = population(lanes=3, draws=Draws.HASHED)
    few.train(30)
    many.train(10)
    many.train(20)
    assert worst(few.to_network(0), many.to_network(0)) < 1e-6
    rows = many.planner.plan(many.lanes, 50, {})[0].rows
    counts = torch.bincount(rows.flatten(), minlength=2000).double()
    assert 0 <= int(rows.min()) <= int(rows.max()) < 2000
    assert float(counts.var() / counts.mean()) == pytest.approx(1.0, abs=0.2)  # Poisson: drawn with replacement
    assert not torch.equal(rows[:, 0], rows[:, 1])


@pytest.fixture(scope="module")
def tended():
    """Three lanes grown by a schedule on a budget that makes parameters cheap."""
    episode = replace(EPISODE, steps=400, decisions=8, consolidation_steps=0, gate_dropout=0.0)
    lanes = Population(builder("mlp-skip", 8), spirals(), episode, lanes=3, families=("glu",))
    glu = blueprints.get("glu")
    budget = GrowthBudget(params=10**6, macs=10**9)
    tend = Tending(
        lanes, [Planting(step=50, slot=slot, blueprint=glu) for slot in range(3)], budget=budget, min_age=50, trial=300
    )
    for _, lane in trained(lanes, [Job(seed=seed) for seed in range(3)], window=50, tend=tend):
        tend.finish(lane)
    return lanes


def test_what_is_tended_goes_through_its_whole_life_and_ends_committed_or_culled(tended):
    states = [life.state for lane in range(3) for life in tended.at(lane).lives]
    assert set(states) <= {State.FOSSILISED, State.EMBARGOED}
    assert State.FOSSILISED in states


def test_a_committed_lane_serves_with_its_fossilised_seeds_alone(tended):
    for lane in range(3):
        network = tended.to_network(lane)
        assert all(alpha in {0.0, 1.0} for alpha in network.alphas())
        assert score(network, tended.data.test).accuracy == tended.score(tended.data.test)[lane].accuracy


def test_what_cannot_be_batched_is_refused_by_name_before_anything_changes():
    lanes = population()
    before = lanes.to_network(0)
    with pytest.raises(IncompatibleError, match="'squeeze-excite' is of the family"):
        lanes.germinate(0, 1, blueprints.get("squeeze-excite"))
    with pytest.raises(IncompatibleError, match="'residual-mlp' has a map of"):
        lanes.germinate(0, 1, blueprints.get("residual-mlp"))
    strange = replace(BOTTLENECK, name="strange", build=lambda slot: torch.nn.Identity())
    assert isinstance(strange, Blueprint)
    with pytest.raises(IncompatibleError, match="'strange' cannot be trained in a population"):
        lanes.germinate(0, 1, strange)
    with pytest.raises(IncompatibleError, match="'depthwise'"):
        lanes.germinate(0, 1, blueprints.get("depthwise"))
    assert lanes.at(0).lives[1].state is State.DORMANT
    assert worst(before, lanes.to_network(0)) == 0.0


def test_a_taken_slot_is_refused_and_the_seed_in_it_stays():
    lanes = population()
    lanes.germinate(0, 1, BOTTLENECK)
    before = lanes.to_network(0)
    with pytest.raises(TamiyoError, match="'germinate' is not allowed while training"):
        lanes.germinate(0, 1, BOTTLENECK)
    assert worst(before, lanes.to_network(0)) == 0.0


def test_hosts_of_another_kind_or_shape_are_refused():
    from tamiyo_train.hosts import hosts

    def convolutional():
        return hosts.get("dsconv")(shape=(1, 8, 8), classes=10, width=4)

    with pytest.raises(IncompatibleError, match="cannot be trained in a population"):
        Population(convolutional, spirals(), EPISODE, lanes=1)
    with pytest.raises(IncompatibleError, match="without ReLU"):
        Population(builder("mlp-shallow"), spirals(), EPISODE, lanes=1)
    lanes = population()
    wider = GrownNetwork(builder(width=7)(), lambda transition: None)
    assert wider.host.domain is Domain.VECTOR
    with pytest.raises(IncompatibleError, match="does not fit the lanes"):
        lanes.load(0, wider, seed=0)
    with pytest.raises(SchemaError, match="families"):
        population(families=("attention",))


@pytest.mark.parametrize(
    "asked", [{"blending": "gate"}, {"attack": 0.1}, {"drift_target": 0.1}, {"space_target": 0.1}, {"apart": True}]
)
def test_an_episode_that_lanes_would_train_otherwise_is_refused_by_its_field(asked):
    ((name, value),) = asked.items()
    with pytest.raises(IncompatibleError, match=f"{name} = {value!r} is not for populations") as caught:
        Population(builder(), spirals(), replace(EPISODE, **asked), lanes=1)
    assert f"set {name} = " in str(caught.value.hint) and "Trainer" in str(caught.value.hint)


def test_prices_of_seeds_are_the_gardeners(tended):
    tend = Tending(tended, [], budget=Pricer(None).default_budget(tended.host.layers), min_age=1, trial=1)
    lane, slot = next(
        (lane, slot) for lane in range(3) for slot in range(3) if tended.at(lane).lives[slot].state is State.FOSSILISED
    )
    assert 0 < tend.price(lane, slot) < 0.01
