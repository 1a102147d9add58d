"""Gates of the life cycle that look at a seed alone."""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train.blueprints.check import IDENTITY_TOLERANCE
from tamiyo_train.seed import evaluating
from tamiyo_train.seeding import generator
from tamiyo_train.slots import Slot

PROBE_SAMPLES = 8


def probe_at_birth(module: nn.Module, slot: Slot) -> str | None:
    """What is wrong with a newborn seed, or None: shape kept, finite, identity to within 1e-5."""
    x = torch.randn(PROBE_SAMPLES, *slot.shape, generator=generator(0, "probe"))
    try:
        with evaluating(module):
            y = module(x)
    except RuntimeError as exc:
        return f"it fails on {tuple(x.shape)}: {exc}"
    if y.shape != x.shape:
        return f"it turns {tuple(x.shape)} into {tuple(y.shape)}"
    if not bool(torch.isfinite(y).all()):
        return "its output is not finite"
    error = float((y - x).abs().max())
    return None if error < IDENTITY_TOLERANCE else f"it is off the identity by {error:.2e}"
