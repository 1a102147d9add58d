"""Every registered blueprint keeps the rules, and learns."""

from __future__ import annotations

import pytest
import torch

from tamiyo_train.blueprints import OFFERED, Domain, blueprints, check_blueprint
from tamiyo_train.blueprints.check import legal_slots
from tamiyo_train.footprint import Footprint
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import image

NAMES = blueprints.names()


@pytest.mark.parametrize("name", NAMES)
def test_every_blueprint_conforms_on_every_legal_slot_it_fits(name):
    check_blueprint(blueprints.get(name))


@pytest.mark.parametrize(
    ("name", "params"),
    [("no-op", 0), ("bottleneck", 2 * 64 + 16), ("squeeze-excite", 2 * 32 + 12), ("depthwise", 72 + 8 + 64 + 8)],
)
def test_parameter_formulas_at_eight_channels(name, params):
    assert Footprint.of(blueprints.get(name).layers(image(8, 4, 4))).params == params


def _roomy(name):
    """The largest legal slot a blueprint fits."""
    blueprint = blueprints.get(name)
    places = [place for domain in sorted(blueprint.domains) for place in legal_slots(domain)]
    return max((place for place in places if blueprint.misfit(place) is None), key=lambda place: place.elements)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "no-op"])
def test_a_trained_seed_is_no_longer_the_identity(name):
    place = _roomy(name)
    with initialising(0):
        module = blueprints.get(name).build(place)
        x = torch.randn(16, *place.shape)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(20):
        optimiser.zero_grad()
        (module(x) - 2 * x).square().mean().backward()
        optimiser.step()
    assert float((module(x) - x).detach().abs().max()) > 0.05


@pytest.mark.parametrize("domain", list(Domain))
def test_what_a_policy_is_offered_works_on_the_domain_and_starts_with_waiting(domain):
    offered = OFFERED[domain]
    assert offered[0] == "no-op"
    assert len(set(offered)) == len(offered)
    assert all(domain in blueprints.get(name).domains for name in offered)


def test_images_are_offered_what_the_published_runs_were():
    assert OFFERED[Domain.IMAGE] == ("no-op", "bottleneck", "squeeze-excite", "depthwise", "wide-conv")
