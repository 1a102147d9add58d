"""What the checker of blueprints finds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train import footprint
from tamiyo_train.blueprints import Blueprint, Domain, check_blueprint
from tamiyo_train.slots import image, vector

SLOT = image(8, 4, 4)


def broken(build, *layers, deploy=lambda module: module) -> Blueprint:
    """A blueprint with one fault."""
    return Blueprint(
        name="broken",
        summary="",
        domains=frozenset({Domain.IMAGE}),
        build=lambda slot: build(),
        layers=lambda slot: layers,
        deploy=deploy,
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


class Adding(nn.Module):
    """y = x + scale * x, the scale zero at birth. ``idle`` adds a parameter that is used by nothing."""

    def __init__(self, *, idle: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(8, 1, 1))
        if idle:
            self.idle = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return x + self.scale * x


class Deaf(Adding):
    def forward(self, x):
        return x + self.scale.detach() * x


class Sharp(Adding):
    def forward(self, x):
        return x + self.scale.abs().sqrt() * x


class Forgetful(Adding):
    """Keeps a number that decides its answer, and does not save it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = float(torch.rand(()))

    def forward(self, x):
        return x + (self.hidden * self.scale) * x


def adding_layers(*, extra: int = 0, elements: int = SLOT.elements):
    return (
        footprint.Layer(
            kind=footprint.Kind.MULTIPLY,
            params=8 + extra,
            macs=0,
            input_elements=elements,
            output_elements=elements,
        ),
        *footprint.changed(SLOT),
    )


def test_a_sound_blueprint_passes():
    check_blueprint(broken(Adding, *adding_layers()), SLOT)


@pytest.mark.parametrize(
    ("build", "layers", "problem"),
    [
        (lambda: nn.Conv2d(8, 8, 1), (), "has 72 parameters as built, its closed form says 0"),
        (Doubling, (), "off the identity"),
        (Cropping, (), "turns"),
        (Poisoned, (), "not finite"),
        (Adding, adding_layers(extra=1), "has 8 parameters as built, its closed form says 9"),
        (Adding, adding_layers(elements=1), "bytes of activations"),
        (lambda: Adding(idle=True), adding_layers(extra=8), "no gradient reaches off the identity: idle"),
        (Deaf, adding_layers(), "gets no gradient at birth"),
        (Sharp, (*adding_layers(), footprint.activation(16)), "gradients that are not finite"),
        (Forgetful, (*adding_layers(), footprint.activation(8)), "checkpoint round trip"),
    ],
)
def test_the_checker_names_what_is_wrong(build, layers, problem):
    with pytest.raises(IncompatibleError, match=problem):
        check_blueprint(broken(build, *layers), SLOT)


def test_a_deployment_that_spoils_the_trained_module_is_found():
    def spoil(module):
        with torch.no_grad():
            module.scale.mul_(0)
        return module

    with pytest.raises(IncompatibleError, match="changed by its own deployment"):
        check_blueprint(broken(Adding, *adding_layers(), deploy=spoil), SLOT)


def test_a_slot_of_the_wrong_domain_is_refused_before_anything_is_built():
    def build():
        raise AssertionError("was built")

    with pytest.raises(IncompatibleError, match="works on image; the domain of the slot is vector"):
        check_blueprint(broken(build), vector(8))


def test_a_blueprint_that_fits_nothing_is_an_error_and_not_a_pass():
    picky = Blueprint(
        name="picky",
        summary="",
        domains=frozenset({Domain.IMAGE}),
        build=lambda slot: nn.Identity(),
        layers=lambda slot: (),
        obstacle=lambda slot: "never fits",
    )
    with pytest.raises(IncompatibleError, match="'picky' fits no slot of image"):
        check_blueprint(picky)
