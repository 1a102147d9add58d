"""Hosts: closed forms held against what torch counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tamiyo_train.footprint import Footprint
from tamiyo_train.hosts import hosts
from tamiyo_train.seeding import initialising


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
