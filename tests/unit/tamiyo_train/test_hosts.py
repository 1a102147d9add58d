"""Hosts: closed forms held against what torch counts, slots that seeds fit, and checkpoints nobody notices."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_train.blueprints import OFFERED, blueprints
from tamiyo_train.footprint import Footprint
from tamiyo_train.hosts import made
from tamiyo_train.hosts.piece import recompute
from tamiyo_train.seed import norms_held
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Domain

CASES = [
    ("dsconv", (1, 8, 8), Domain.IMAGE),
    ("dsconv", (3, 9, 7), Domain.IMAGE),
    ("mlp", (2,), Domain.VECTOR),
    ("mlp", (1, 40), Domain.VECTOR),
    ("mlp-skip", (10,), Domain.VECTOR),
    ("mlp-skip", (1, 8, 8), Domain.VECTOR),
    ("mlp x 12", (10,), Domain.VECTOR),
    ("mlp-skip x 16", (1, 8, 8), Domain.VECTOR),
    ("mlp-shallow", (10,), Domain.VECTOR),
    ("mlp-shallow", (1, 8, 8), Domain.VECTOR),
    ("conv1d", (1, 40), Domain.SEQUENCE),
    ("conv1d", (3, 25), Domain.SEQUENCE),
    ("attention1d", (1, 40), Domain.SEQUENCE),
    ("attention1d", (2, 15), Domain.SEQUENCE),
    ("causal1d", (3, 12), Domain.SEQUENCE),
    ("pairs", (868,), Domain.JOINT),
]
_FOLDED = nn.Conv1d | nn.Conv2d
_NORMS = nn.BatchNorm1d | nn.BatchNorm2d


def built(name, shape, width=6, classes=10):
    """A host by name, or by name and depth: ``mlp x 12``."""
    name, _, depth = name.partition(" x ")
    with initialising(3):
        return made(name, shape=shape, classes=classes, width=width, depth=int(depth) if depth else None)


def deployed_params(piece: nn.Module) -> int:
    """Parameters with the norms folded: every convolution then has a bias."""
    total = 0
    for module in piece.modules():
        if isinstance(module, _FOLDED):
            total += module.weight.numel() + module.out_channels
        elif not isinstance(module, _NORMS):
            total += sum(p.numel() for p in module.parameters(recurse=False))
    return total


@pytest.mark.parametrize("width", [3, 6])
@pytest.mark.parametrize(("name", "shape", "domain"), CASES)
def test_host_cost_is_what_torch_counts_with_the_norms_folded(name, shape, domain, width):
    host = built(name, shape, width)
    x = torch.randn(1, *shape)
    after = [*(place.shape for place in host.places), (10, shape[-1]) if name == "causal1d" else (10,)]
    for piece, layers, expected_shape in zip(host.trunk, host.layers, after, strict=True):
        piece.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            x = piece(x)
        expected = Footprint.of(layers)
        assert expected.params == deployed_params(piece)
        assert expected.macs == flops.get_total_flops() // 2
        assert tuple(x.shape[1:]) == expected_shape
    assert host.domain is domain
    assert host.footprint().params == sum(deployed_params(piece) for piece in host.trunk)


@pytest.mark.parametrize(("name", "shape", "domain"), CASES)
def test_a_seed_that_is_offered_fits_every_slot_it_says_it_fits(name, shape, domain):
    host = built(name, shape)
    for place in host.places:
        x = torch.randn(2, *place.shape)
        fitting = [b for b in map(blueprints.get, OFFERED[domain]) if b.misfit(place) is None]
        assert len(fitting) >= 3
        for blueprint in fitting:
            assert blueprint.build(place).eval()(x).shape == x.shape


@pytest.mark.parametrize(("name", "least"), [("dsconv", 4), ("conv1d", 4), ("attention1d", 4), ("mlp", 3)])
def test_hosts_have_a_slot_between_each_two_pieces(name, least):
    shape = {"dsconv": (1, 8, 8), "mlp": (4,)}.get(name, (1, 40))
    host = built(name, shape)
    assert host.slots >= least
    assert len(host.trunk) == len(host.layers) == host.slots + 1


@pytest.mark.parametrize(("name", "slots"), [("mlp", 3), ("mlp x 3", 3), ("mlp x 12", 12), ("mlp-skip x 1", 1)])
def test_a_perceptron_has_a_slot_behind_every_hidden_layer(name, slots):
    assert built(name, (2,)).slots == slots


def test_a_dozen_layers_pass_a_signal_on():
    with torch.no_grad():
        passed = nn.Sequential(*built("mlp x 12", (10,), 32).trunk)(torch.randn(200, 10)).std(0).mean()
    assert 0.05 < float(passed) < 5


def test_a_host_without_a_depth_to_choose_says_which_have_one():
    with pytest.raises(UsageError, match="'conv1d' is as deep as it is") as caught:
        made("conv1d", shape=(1, 40), classes=2, width=4, depth=12)
    assert "mlp or mlp-skip" in caught.value.hint


def test_what_is_carried_reaches_every_slot_unchanged():
    host = built("mlp-skip", (5,))
    x = torch.randn(7, 5)
    passing = x
    for piece, place in zip(host.trunk, host.places, strict=False):
        passing = piece(passing)
        assert torch.equal(passing[:, place.writable :], x)


def test_behind_its_one_hidden_layer_the_shallow_host_is_linear():
    host = built("mlp-shallow", (5,))
    x, y = torch.randn(7, 5), torch.randn(7, 5)

    def behind(hidden):
        for piece in host.trunk[1:]:
            hidden = piece(hidden)
        return hidden

    a, b = host.trunk[0](x), host.trunk[0](y)
    torch.testing.assert_close(behind(0.5 * (a + b)), 0.5 * (behind(a) + behind(b)))
    assert float(host.trunk[0](-100 * x)[:, :6].detach().min()) == 0.0


def test_carrying_costs_the_bare_host_nothing():
    x = torch.randn(4, 5)
    plain, skipping = built("mlp", (5,)), built("mlp-skip", (5,))
    outputs = []
    for host in (plain, skipping):
        passing = x
        for piece in host.trunk:
            passing = piece(passing)
        outputs.append(passing)
    torch.testing.assert_close(*outputs)
    assert plain.footprint().params == skipping.footprint().params


def step(trunk, x, y, *, held: bool):
    """One forward and backward pass in training mode: logits, gradients and buffers after it."""
    trunk.train()
    passing = x
    if held:
        with norms_held(trunk):
            for piece in trunk:
                passing = piece(passing)
    else:
        for piece in trunk:
            passing = piece(passing)
    gradients = torch.autograd.grad(nn.functional.cross_entropy(passing, y), list(trunk.parameters()))
    return passing, gradients, dict(trunk.named_buffers())


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("name", ["conv1d", "attention1d"])
def test_checkpointing_changes_neither_gradients_nor_the_norms_statistics(name, held):
    x, y = torch.randn(16, 1, 40), torch.arange(16) % 10
    plain, checkpointed = built(name, (1, 40)).trunk, built(name, (1, 40)).trunk
    assert recompute(checkpointed) == len(checkpointed)
    expected, found = step(plain, x, y, held=held), step(checkpointed, x, y, held=held)
    assert torch.equal(expected[0], found[0])
    for one, other in zip(expected[1], found[1], strict=True):
        torch.testing.assert_close(one, other)
    for key, buffer in expected[2].items():
        assert torch.equal(buffer, found[2][key]), key
    assert all(
        norm.training and norm.track_running_stats for norm in checkpointed.modules() if isinstance(norm, _NORMS)
    )


def test_checkpointing_can_be_switched_off_and_is_never_used_without_gradients(monkeypatch):
    from tamiyo_train.hosts import piece as module

    calls = []
    plain = module.checkpoint
    monkeypatch.setattr(module, "checkpoint", lambda *a, **k: calls.append(1) or plain(*a, **k))
    trunk, x = built("conv1d", (1, 40)).trunk, torch.randn(4, 1, 40)
    recompute(trunk)
    trunk[0](x)
    assert len(calls) == 1
    with torch.no_grad():
        trunk[0](x)
    trunk.eval()
    trunk[0](x)
    trunk.train()
    recompute(trunk, on=False)
    trunk[0](x)
    assert len(calls) == 1


def test_hosts_that_cannot_recompute_say_so():
    assert recompute(built("dsconv", (1, 8, 8)).trunk) == 0


def test_initialising_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with initialising(1):
        torch.rand(10)
    assert torch.equal(torch.rand(3), expected)
