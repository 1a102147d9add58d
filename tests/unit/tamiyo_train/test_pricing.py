"""The closed form priced on a profile, held against the operators of the built host."""

from __future__ import annotations

import pytest
import torch

from device_profiles.cost import estimate
from device_profiles.loader import load_profile
from exporters.ops.traced import trace
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_train.hosts import hosts
from tamiyo_train.pricing import Pricer


@pytest.mark.parametrize("profile", ["x86-64", "raspberry-pi-4", "ethos-u55-128", "generic-asic"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("dsconv", (1, 8, 8)), ("dsconv", (3, 9, 7)), ("mlp", (10,)), ("conv1d", (1, 40)), ("attention1d", (1, 40))],
)
def test_a_host_priced_by_its_closed_form_costs_about_what_its_operators_do(name, shape, profile):
    host = hosts.get(name)(shape=shape, classes=10, width=8)
    x, traced = torch.rand(1, *shape), []
    for piece in host.trunk.eval():
        traced.append(trace(piece, x, precision=Precision.INT8))
        with torch.no_grad():
            x = piece(x)
    wanted = estimate(load_profile(profile), traced, precision=Precision.INT8).latency_ms.value
    assert Pricer(profile).price(host.layers).latency_ms == pytest.approx(wanted, rel=0.18)
