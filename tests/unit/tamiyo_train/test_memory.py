"""The memory report: what autograd keeps, by piece, without leaving a trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError, UnknownNameError
from tamiyo_train.config import TrainConfig
from tamiyo_train.data import data_of
from tamiyo_train.hosts import hosts
from tamiyo_train.hosts.piece import recompute
from tamiyo_train.jobs import new_host
from tamiyo_train.memory import activation_report, planned_report
from tamiyo_train.seeding import generator, initialising
from tamiyo_train.static import committed


def network(topology=None, name="attention1d", width=8):
    with initialising(1):
        host = hosts.get(name)(shape=(1, 40), classes=10, width=width)
    return committed(host, topology or {}, seed=1)


def saved(report) -> dict[str, int]:
    return {piece.name: piece.saved_bytes for piece in report.pieces}


def test_a_linear_layer_keeps_its_input_and_a_relu_its_output():
    with initialising(1):
        host = hosts.get("mlp")(shape=(6,), classes=3, width=4)
    report = activation_report(committed(host, {}, seed=1), torch.zeros(32, 6))
    floats = {"trunk0": 6 + 4, "trunk1": 4, "trunk2": 4, "trunk3": 0}  # what one piece gives is what the next one takes
    assert {name: found for name, found in saved(report).items() if name != "loss"} == {
        name: 32 * 4 * count for name, count in floats.items()
    }
    assert saved(report)["loss"] >= 32 * 3 * 4  # the probabilities
    assert report.saved_bytes == sum(saved(report).values())
    assert report.peak_bytes is None


def test_memory_grows_with_the_batch_and_with_every_seed():
    bare = activation_report(network(), torch.zeros(16, 1, 40))
    twice = activation_report(network(), torch.zeros(32, 1, 40))
    seeded = activation_report(network({1: "bottleneck"}), torch.zeros(16, 1, 40))
    assert saved(twice)["trunk2"] == 2 * saved(bare)["trunk2"] - 2 * 8 * 4  # the norm keeps mean and deviation once
    assert seeded.saved_bytes > bare.saved_bytes
    assert [piece.blueprint for piece in seeded.pieces if piece.blueprint] == ["bottleneck"]


def test_checkpointing_keeps_only_what_enters_each_piece():
    plain, checkpointed = network(), network()
    recompute(checkpointed.trunk)
    x = torch.zeros(16, 1, 40)
    before, after = saved(activation_report(plain, x)), saved(activation_report(checkpointed, x))
    assert after["trunk0"] == 16 * 40 * 4
    for name in ("trunk1", "trunk2", "trunk3", "trunk4"):
        assert after[name] == 16 * 8 * 20 * 4
    assert sum(after.values()) < 0.3 * sum(before.values())


def test_a_report_changes_nothing():
    subject = network({0: "bottleneck"})
    subject.eval()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    activation_report(subject, torch.randn(16, 1, 40))
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.state_dict().items())
    assert not any(module.training for module in subject.modules())
    assert all(parameter.grad is None for parameter in subject.parameters())


def test_a_planned_run_is_reported_without_its_data():
    config = TrainConfig(task="digits")
    report = planned_report(config, {0: "bottleneck"})
    assert report.batch == config.final.batch
    assert report.device == "cpu"
    with pytest.raises(UnknownNameError):
        planned_report(replace(config, host="dsconf"))


def test_checkpointing_is_part_of_a_run_and_refused_where_no_piece_can_do_it():
    config = TrainConfig(task="digits")
    with pytest.raises(IncompatibleError, match="dsconv"):
        new_host(replace(config, checkpointing=True), 0)


def test_moving_the_data_changes_no_batch():
    data = data_of("digits")
    one, other = (part.batch(32, generator(3, "batches")) for part in (data, data.to("cpu")))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert data.to("meta").validation.x.device.type == "meta"
