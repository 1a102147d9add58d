"""What turning costs: the figure that gates judge, paid for in training by host and seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.blueprints import blueprints
from tamiyo_train.channel_gate import ChannelGate
from tamiyo_train.config import Episode
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.data import data_of
from tamiyo_train.hosts import hosts
from tamiyo_train.lifecycle import Event
from tamiyo_train.seed import GrownNetwork, Seed, blend, evaluating
from tamiyo_train.seeding import initialising
from tamiyo_train.static import committed, train_static
from tamiyo_train.telemetry.reading import drift_of
from tamiyo_train.trainer import Trainer
from tamiyo_train.turning import interfaces, penalty, turned

EPISODE = Episode(steps=192, decisions=16, consolidation_steps=64, batch=64, gate_dropout=0.0)
TOPOLOGY = {1: "widening", 2: "bottleneck"}


def host(width=6):
    with initialising(3):
        return hosts.get("mlp-skip")(shape=(2,), classes=2, width=width)


def drifts(network):
    """95th percentile of every seed's drift on the gate split, by slot, as an examination takes it."""
    x, alphas = data_of("moons").gate.x, network.alphas()
    found = {}
    with evaluating(network):
        for slot, seed in enumerate(network.seeds):
            if seed is not None:
                entering = network.entering(x, alphas, slot)
                found[slot] = drift_of(entering, blend(seed.module, entering, 1.0))[1]
    return found


def trained(**changes):
    return train_static(host(), TOPOLOGY, data_of("moons"), replace(EPISODE, **changes), seed=0).network


def test_a_turn_is_the_drift_that_is_measured():
    x, y = torch.randn(40, 3, 4), torch.randn(40, 3, 4)
    assert float(turned(x, y).mean()) == pytest.approx(drift_of(x, y)[0], abs=1e-6)


def test_what_is_nought_does_not_turn_and_has_a_finite_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    turn = turned(x, torch.ones(2, 3))
    turn.sum().backward()
    assert turn.tolist() == [0.0, 0.0]
    assert bool(torch.isfinite(x.grad).all())


def test_turns_below_the_target_are_free_and_twice_the_target_costs_the_weight():
    x = torch.tensor([[1.0, 0.0]])
    right_angle = [(x, torch.tensor([[0.0, 1.0]]))]
    assert float(penalty(right_angle, target=1.0, weight=3.0)) == 0.0
    assert float(penalty(right_angle, target=0.5, weight=3.0)) == pytest.approx(3.0)
    assert float(penalty(right_angle * 2, target=0.5, weight=3.0)) == pytest.approx(6.0)
    assert float(penalty([], target=0.5, weight=3.0)) == 0.0


def test_held_to_a_target_seeds_turn_less_and_are_as_right():
    free, held = trained(), trained(drift_target=0.05)
    assert max(drifts(free).values()) > 0.2
    assert max(drifts(held).values()) < 0.1
    test = data_of("moons").test
    for network in (free, held):
        with evaluating(network):
            assert float((network(test.x).argmax(1) == test.y).double().mean()) > 0.98


def test_a_target_that_nothing_reaches_changes_nothing():
    free, held = trained(), trained(drift_target=2.0)
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), held.parameters(), strict=True))


def in_training(config):
    """A trainer whose only seed is a newborn one that turns far."""
    trainer = Trainer(GrownNetwork(host(), lambda transition: None), data_of("moons"), config, seed=0)
    life, place = trainer.network.lives[1], trainer.network.host.places[1]
    life.fire(Event.GERMINATE, step=0, reason="test")
    life.fire(Event.PROBE_PASSED, step=0, reason="test")
    with initialising(5):
        module = blueprints.get("widening").build(place)
        torch.nn.init.normal_(module.up.weight)
    trainer.plant(1, Seed(blueprint=blueprints.get("widening"), module=module, rate=1.0, born_step=0))
    return trainer


def test_a_newborn_learns_to_turn_less_before_it_is_blended_in_and_the_host_does_not_notice():
    free, held = in_training(EPISODE), in_training(replace(EPISODE, drift_target=0.05, drift_weight=5.0))
    for _ in range(40):
        assert free.step().loss == held.step().loss
    assert drifts(held.network)[1] < 0.5 * drifts(free.network)[1]
    trunks = [trainer.network.trunk.state_dict().values() for trainer in (free, held)]
    assert all(torch.equal(a, b) for a, b in zip(*trunks, strict=True))


def test_a_seed_behind_a_learned_gate_is_seen_as_if_it_were_open():
    network = committed(host(), {1: "widening"}, seed=0)
    seed = network.seed_at(1)
    torch.nn.init.normal_(seed.module.up.weight)
    seed.module = ChannelGate(seed.module, network.host.places[1])
    network.plant(1, seed)
    x = data_of("moons").gate.x[:16]
    with torch.no_grad(), interfaces(network) as passed:
        network(x)
    ((entering, leaving),) = passed
    assert torch.equal(leaving, seed.module.inner(entering))


def test_seeds_are_watched_only_while_it_is_asked_for():
    network = committed(host(), TOPOLOGY, seed=0)
    x = data_of("moons").gate.x[:4]
    with interfaces(network) as passed:
        network(x, [0.0, 0.0, 1.0])
    network(x)
    assert len(passed) == 1  # a seed that is left out turns nothing


def test_stages_train_towards_half_of_the_drift_that_their_gate_allows():
    for stage in CURRICULUM.stages:
        bounds = [condition.bound for condition in stage.safety if condition.measure == "drift"]
        config = stage.config()
        expected = bounds[0] / 2 if bounds else None
        assert config.final.drift_target == config.collect.drift_target == expected
    assert CURRICULUM.stage("0").config().final.drift_target == pytest.approx(0.075)


@pytest.mark.parametrize(
    "changes", [{"drift_target": 0.0}, {"drift_target": 2.5}, {"drift_weight": 0.0}, {"weight_decay": -0.1}]
)
def test_a_target_that_means_nothing_is_refused(changes):
    with pytest.raises(SchemaError, match=next(iter(changes))):
        Episode(**changes)
