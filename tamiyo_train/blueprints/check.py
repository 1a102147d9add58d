"""What every blueprint must hold, ours or a plug-in's."""

from __future__ import annotations

import torch

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints.base import Blueprint
from tamiyo_train.footprint import Footprint
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Slot

IDENTITY_TOLERANCE = 1e-5
PROBE_SEED = 7


def check_blueprint(blueprint: Blueprint, slot: Slot) -> None:
    """Build a seed and check birth and cost; raises IncompatibleError naming the first rule that is broken.

    Rules: the output has the input's shape and is finite; it differs from the input by less than 1e-5; the built module
    has the closed form's number of parameters; something can learn (a gradient reaches at least one parameter).
    """
    blueprint.check_fits(slot)
    with initialising(PROBE_SEED):
        module = blueprint.build(slot)
        x = torch.randn(5, *slot.shape)
        direction = torch.randn(5, *slot.shape)
    expected = Footprint.of(blueprint.layers(slot)).params
    params = sum(p.numel() for p in module.parameters())
    _hold(params == expected, blueprint, f"has {params} parameters, its closed form says {expected}")
    y = module(x)
    _hold(y.shape == x.shape, blueprint, f"turns {tuple(x.shape)} into {tuple(y.shape)}")
    _hold(bool(torch.isfinite(y).all()), blueprint, "gives values that are not finite")
    error = float((y - x).detach().abs().max())
    _hold(error < IDENTITY_TOLERANCE, blueprint, f"is off the identity by {error:.2e} at birth")
    if params:
        (y * direction).sum().backward()
        reached = any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())
        _hold(reached, blueprint, "gets no gradient at birth, it could never learn")


def _hold(condition: bool, blueprint: Blueprint, problem: str) -> None:
    if not condition:
        raise IncompatibleError(
            f"blueprint '{blueprint.name}' {problem}",
            hint="see tamiyo_train/blueprints/base.py for the rules every blueprint keeps",
        )
