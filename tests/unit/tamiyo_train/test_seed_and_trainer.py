"""Blending and training: a newborn learns the task, and the host does not notice it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tamiyo_train.blueprints import blueprints
from tamiyo_train.hosts import hosts
from tamiyo_train.lifecycle import Event
from tamiyo_train.seed import GrownNetwork, Seed, blend, cosine_ramp, evaluating, held_loss
from tamiyo_train.seeding import initialising
from tamiyo_train.static import committed
from tamiyo_train.trainer import Trainer
from tests.unit.tamiyo_train.helpers import SHORT, new_host


def newborn(slot: int, name: str = "wide-conv") -> Seed:
    with initialising(slot + 1):
        module = blueprints.get(name).build(new_host().places[slot])
    return Seed(blueprint=blueprints.get(name), module=module, rate=3.0, born_step=0)


def in_training(trainer: Trainer, slot: int, name: str = "wide-conv") -> Seed:
    life = trainer.network.lives[slot]
    life.fire(Event.GERMINATE, step=0, reason="test")
    life.fire(Event.PROBE_PASSED, step=0, reason="test")
    seed = newborn(slot, name)
    trainer.plant(slot, seed)
    return seed


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_the_ramp_rises_from_nought_to_one(a, b):
    assert cosine_ramp(0.0) == 0.0
    assert cosine_ramp(1.0) == 1.0
    low, high = sorted((a, b))
    assert 0.0 <= cosine_ramp(low) <= cosine_ramp(high) <= 1.0


def test_blending_goes_from_the_input_to_the_seed_in_a_straight_line():
    x = torch.randn(2, 3, 4, 4)
    module = torch.nn.Conv2d(3, 3, 1)
    assert blend(module, x, 0.0) is x
    assert torch.equal(blend(module, x, 1.0), module(x))
    assert torch.allclose(blend(module, x, 0.25), 0.75 * x + 0.25 * module(x), atol=1e-6)


@pytest.mark.parametrize(
    ("broken", "what"), [(lambda x: x[:, :-1], "turned"), (lambda x: x.mul_(2.0), "changed its input")]
)
def test_a_seed_that_breaks_its_promise_is_noticed_even_where_the_host_cuts_to_size_and_no_graph_is_kept(broken, what):
    with initialising(0):
        host = hosts.get("mlp-skip")(shape=(5,), classes=2, width=4)
    network = committed(host, {1: "bottleneck"}, seed=0)
    network.seed_at(1).module.forward = broken
    x = torch.randn(3, 5)
    with torch.no_grad(), pytest.raises(RuntimeError, match=what):
        network(x)
    assert network(x, [0.0, 0.0, 0.0]).shape == (3, 2)  # a seed that is off is not asked


@pytest.mark.parametrize("slots", [(0,), (3,), (1, 2)])
def test_while_a_seed_trains_the_host_learns_as_if_it_were_not_there(data, slots):
    alone = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    beside = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    seeds = [in_training(beside, slot) for slot in slots]
    before = [[p.detach().clone() for p in seed.module.parameters()] for seed in seeds]
    for _ in range(6):
        assert alone.step().loss == beside.step().loss
    a, b = alone.network.trunk.state_dict(), beside.network.trunk.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    for seed, old in zip(seeds, before, strict=True):
        assert any(not torch.equal(new, then) for new, then in zip(seed.module.parameters(), old, strict=True))


@pytest.mark.parametrize("apart", [True, False])
def test_apart_a_newborn_learns_as_if_the_other_were_not_there(data, apart):
    config = replace(SHORT, apart=apart)
    alone, both = (Trainer(GrownNetwork(new_host(), lambda t: None), data, config, seed=1) for _ in range(2))
    for trainer, slots in ((alone, (1,)), (both, (1, 2))):
        for slot in slots:
            in_training(trainer, slot)
        for _ in range(4):
            trainer.step()
    pairs = zip(*(trainer.network.seed_at(1).module.parameters() for trainer in (alone, both)), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs) is apart


def test_weight_decay_takes_from_host_and_seeds_by_their_rates(data):
    sizes = []
    for decay in (0.0, 0.5):
        config = replace(SHORT, weight_decay=decay, learning_rate=1e-2)
        trainer = Trainer(committed(new_host(), {1: "wide-conv"}, seed=0), data, config, seed=1, planted=True)
        for _ in range(16):
            trainer.step()
        parts = (trainer.network.trunk, trainer.network.seed_at(1).module)
        sizes.append([sum(float(p.detach().square().sum()) for p in part.parameters()) for part in parts])
    assert all(decayed < 0.97 * free for free, decayed in zip(*sizes, strict=True))


def test_without_weight_decay_a_step_is_one_of_adam(data):
    trainer = Trainer(committed(new_host(), {}, seed=0), data, SHORT, seed=1)
    twin = committed(new_host(), {}, seed=0)
    adam = torch.optim.Adam(twin.trunk.parameters(), lr=1.0, fused=True)
    for _ in range(3):
        trainer.step()
        for param, other in zip(twin.trunk.parameters(), trainer.network.trunk.parameters(), strict=True):
            param.grad = other.grad.clone()
        adam.param_groups[0]["lr"] = trainer.host_rate()
        adam.step()
    pairs = zip(twin.trunk.parameters(), trainer.network.trunk.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in pairs)


def test_a_seed_in_training_learns_the_task(data):
    trainer = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    for _ in range(10):
        trainer.step()
    in_training(trainer, 2)
    x, y = data.gate.x, data.gate.y
    first = None
    optimiser = torch.optim.Adam(trainer.network.seed_at(2).module.parameters(), lr=0.02)
    for _ in range(30):
        optimiser.zero_grad()
        loss = float(held_loss(trainer.network, x, [2], lambda logits: cross_entropy(logits, y)))
        first = loss if first is None else first
        optimiser.step()
    assert loss < first - 0.03


def test_evaluating_restores_each_modules_own_mode():
    network = new_host().trunk
    network.train()
    network[1].norm.eval()
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()
    assert [module.training for module in network.modules()] == modes


def test_a_seed_that_is_taken_out_leaves_neither_weights_nor_moments(data):
    trainer = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    names = set(trainer.network.state_dict())
    in_training(trainer, 1)
    trainer.step()
    assert set(trainer.network.state_dict()) > names
    trainer.uproot(1)
    assert set(trainer.network.state_dict()) == names
    assert [group["name"] for group in trainer.optimiser.param_groups] == ["host"]
    kept = {id(p) for p in trainer.network.trunk.parameters()}
    assert {id(p) for p in trainer.optimiser.state} <= kept


def test_the_end_of_consolidation_keeps_the_norms_statistics_and_trains_all_the_same(data):
    trainer = Trainer(committed(new_host(), {2: "depthwise"}, seed=0), data, SHORT, seed=0, planted=True)
    trainer.step()
    trainer.step_index = SHORT.hold_from
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.step(consolidate=True)
    after = trainer.network.state_dict()
    statistics = [name for name in after if "running" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["trunk.1.pointwise.weight"], after["trunk.1.pointwise.weight"])


def test_the_learning_rate_warms_up_falls_and_ends_near_nought(data):
    trainer = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    rates = []
    for trainer.step_index in range(SHORT.total_steps):
        rates.append(trainer.learning_rate())
    peak = rates.index(max(rates))
    assert rates[peak] == pytest.approx(SHORT.learning_rate)
    assert 0 < peak < 6
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.05 * SHORT.learning_rate


def test_training_macs_count_the_second_pass_of_a_newborn(data):
    alone = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    beside = Trainer(GrownNetwork(new_host(), lambda t: None), data, SHORT, seed=1)
    in_training(beside, 3)
    alone.step()
    beside.step()
    first, head, seed = 9 * 4 * 64, 8 * 10, 8 * 9 * 32 * 16 + 32 * 8 * 16
    assert alone.training_macs == SHORT.batch * (3 * 8976 - first)
    held = 8976 + seed + head + seed + 32 * 8 * 16  # forward, through the head, to weights and units of the seed
    assert beside.training_macs - alone.training_macs == SHORT.batch * held


def test_the_shifted_samples_are_the_images_moved_by_a_pixel(data):
    centre, corner = data.variants[4], data.variants[0]
    assert torch.equal(corner[:, :, 1:, 1:], centre[:, :, :-1, :-1])
    assert float(corner[:, :, 0].abs().max()) == 0.0
