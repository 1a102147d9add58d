"""The closed form priced on a profile, held against the operators of the built host."""

from __future__ import annotations

import pytest
import torch

from device_profiles.cost import estimate
from device_profiles.loader import load_profile
from exporters.ops.traced import trace
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_train.blueprints import blueprints
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.hosts import hosts
from tamiyo_train.pricing import Pricer
from tamiyo_train.seed import GrownNetwork


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


@pytest.mark.parametrize(("profile", "factor"), [("coral-usb", 5), ("raspberry-pi-4", 1)])
def test_a_device_that_runs_whole_networks_is_asked_once_and_others_once_a_piece(profile, factor):
    layers = hosts.get("conv1d")(shape=(6, 128), classes=6, width=2).layers
    whole = [[layer for piece in layers for layer in piece]]
    found, joined = Pricer(profile).price(layers), Pricer(profile).price(whole)
    assert len(layers) == 5
    assert (found == joined) is (factor == 5)
    floor_ms = load_profile("coral-usb").value("accelerator.floor_us") / 1e3
    if factor == 5:
        assert floor_ms < found.latency_ms < 1.1 * floor_ms


@pytest.mark.parametrize(("profile", "whole"), [("coral-usb", True), ("ethos-u55-128", True), ("cortex-m4", False)])
def test_a_committed_network_costs_what_its_export_will(profile, whole):
    layers = hosts.get("conv1d")(shape=(6, 128), classes=6, width=2).layers
    pricer = Pricer(profile)
    one, chain = pricer.cost([[layer for piece in layers for layer in piece]]), pricer.cost(layers)
    assert one.latency_ms.value < chain.latency_ms.value
    assert pricer.deployed(layers) == (one if whole else chain)


def test_an_export_that_may_choose_keeps_the_pieces_of_a_network_beside_which_boundaries_are_cheap():
    layers = hosts.get("conv1d")(shape=(6, 4096), classes=6, width=32).layers
    pricer = Pricer("raspberry-pi-4")
    assert pricer.deployed(layers) == pricer.cost(layers)


@pytest.mark.parametrize("profile", sorted({stage.profile for stage in CURRICULUM.stages}))
def test_the_device_of_every_stage_has_room_for_a_seed_in_every_slot(profile):
    host, pricer = hosts.get("conv1d")(shape=(1, 256), classes=13, width=4), Pricer(profile)
    network, budget = GrownNetwork(host, lambda transition: None), pricer.default_budget(host.layers)
    for slot in range(host.slots):
        grown = pricer.price(network.graphs(extra=(slot, blueprints.get("wide-conv"))))
        assert budget.allows(grown), f"{profile}, slot {slot}: {grown} of {budget}"
