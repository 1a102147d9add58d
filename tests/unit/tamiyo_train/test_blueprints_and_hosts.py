"""Blueprints and hosts: identity at birth, and closed forms held against what torch counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints import OFFERED, Blueprint, Domain, blueprints, check_blueprint
from tamiyo_train.footprint import Footprint
from tamiyo_train.hosts import hosts
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import image

NAMES = OFFERED[Domain.IMAGE]
SHAPES = [(4, 8, 8), (8, 4, 4), (3, 5, 7)]
_LAYERS = {"convolution", "relu", "add", "mul", "mean", "sigmoid", "addmm", "view", "_unsafe_view"}


class Outputs(TorchDispatchMode):
    """Counts the elements every operator writes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in _LAYERS:
            self.elements += out.numel()
        return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_blueprint_conforms(name, shape):
    check_blueprint(blueprints.get(name), image(*shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_closed_form_cost_is_what_torch_counts(name, shape):
    blueprint = blueprints.get(name)
    module = blueprint.build(image(*shape)).eval()
    expected = Footprint.of(blueprint.layers(image(*shape)))
    with torch.no_grad(), FlopCounterMode(display=False) as flops, Outputs() as outputs:
        module(torch.randn(1, *shape))
    assert expected.params == sum(p.numel() for p in module.parameters())
    assert expected.macs == flops.get_total_flops() // 2
    assert expected.activation_bytes == 4 * outputs.elements


@pytest.mark.parametrize(
    ("name", "params"),
    [("no-op", 0), ("bottleneck", 2 * 64 + 16), ("squeeze-excite", 2 * 32 + 12), ("depthwise", 72 + 8 + 64 + 8)],
)
def test_parameter_formulas_at_eight_channels(name, params):
    assert Footprint.of(blueprints.get(name).layers(image(8, 4, 4))).params == params


@pytest.mark.parametrize("name", [name for name in NAMES if name != "no-op"])
def test_a_trained_seed_is_no_longer_the_identity(name):
    with initialising(0):
        module = blueprints.get(name).build(image(8, 4, 4))
        x = torch.randn(16, 8, 4, 4)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(20):
        optimiser.zero_grad()
        (module(x) - 2 * x).square().mean().backward()
        optimiser.step()
    assert float((module(x) - x).detach().abs().max()) > 0.05


def broken(module: nn.Module) -> Blueprint:
    """A blueprint with one fault."""
    return Blueprint(
        name="broken",
        summary="",
        domains=frozenset({Domain.IMAGE}),
        build=lambda slot: module,
        layers=lambda slot: (),
    )


class Doubling(nn.Module):
    def forward(self, x):
        return 2 * x


class Cropping(nn.Module):
    def forward(self, x):
        return x[:, :, 1:]


class Poisoned(nn.Module):
    def forward(self, x):
        return x * float("nan")


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (nn.Conv2d(8, 8, 1), "72 parameters"),
        (Doubling(), "off the identity"),
        (Cropping(), "turns"),
        (Poisoned(), "not finite"),
    ],
)
def test_the_checker_names_what_is_wrong(module, problem):
    with pytest.raises(IncompatibleError, match=problem):
        check_blueprint(broken(module), image(8, 4, 4))


@pytest.mark.parametrize("channels", [3, 4, 8])
def test_host_cost_is_what_torch_counts_with_the_norms_folded(channels):
    host = hosts.get("dsconv")(shape=(1, 8, 8), classes=10, width=channels)
    x = torch.randn(1, 1, 8, 8)
    shapes = [*(place.shape for place in host.places), None]
    for piece, layers, shape in zip(host.trunk, host.layers, shapes, strict=True):
        piece.eval()
        expected = Footprint.of(layers)
        folded = 0
        for module in piece.modules():
            if isinstance(module, nn.Conv2d):
                folded += module.weight.numel() + module.out_channels  # each gets a bias when it is deployed
            elif isinstance(module, nn.Linear):
                folded += sum(p.numel() for p in module.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            x = piece(x)
        assert expected.params == folded
        assert expected.macs == flops.get_total_flops() // 2
        assert shape is None or tuple(x.shape[1:]) == shape
    assert x.shape == (1, 10)


def test_a_host_has_four_slots_or_more():
    host = hosts.get("dsconv")(shape=(1, 8, 8), classes=10)
    assert host.slots >= 4
    assert len(host.trunk) == host.slots + 1


def test_initialising_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with initialising(1):
        torch.rand(10)
    assert torch.equal(torch.rand(3), expected)
