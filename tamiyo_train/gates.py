"""Gates of the life cycle: what must hold of a newborn, before blending, and before a seed becomes part of the network.

Pure but for the probe, which runs the newborn on samples of its own and leaves no trace in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.blueprints.check import IDENTITY_TOLERANCE
from tamiyo_train.evaluation import Scores, paired_gain
from tamiyo_train.footprint import Footprint
from tamiyo_train.seed import evaluating
from tamiyo_train.seeding import generator, initialising
from tamiyo_train.slots import Slot

PROBE_SAMPLES = 8


def probe_at_birth(module: nn.Module, slot: Slot, blueprint: Blueprint | None = None) -> str | None:
    """What is wrong with a newborn seed, or None.

    It must keep the shape, leave its input alone, be finite and the identity to within 1e-5, and have finite gradients;
    when its blueprint is given, also be exportable in a form that is the identity and no larger than declared.
    """
    x = torch.randn(PROBE_SAMPLES, *slot.shape, generator=generator(0, "probe"))
    kept = x.clone()
    try:
        with initialising(0):  # a seed that draws from torch's own generator must not move it
            with evaluating(module):
                y = module(x)
            problem = _outcome(kept, x, y) or _gradients(module, kept)
            if problem is None and blueprint is not None:
                problem = _deployed(module, kept, slot, blueprint)
    except Exception as exc:  # noqa: BLE001  (a blueprint of others may raise anything; all of it means unfit)
        return f"it fails on {tuple(kept.shape)}: {type(exc).__name__}: {exc}"
    return problem


def ready_to_blend(
    present: Scores, absent: Scores, *, own: float | None, host: float | None, least_ratio: float
) -> bool:
    """Whether a seed in training may start blending: its gradient is finite and not lost beside the host's, and the
    task's loss is lower with it. ``own`` and ``host``: gradient norms of the last step, None where there was none.
    """
    if own is None or host is None or not (math.isfinite(own) and math.isfinite(host)):
        return False
    return own >= least_ratio * host and present.loss < absent.loss


def proven_gain(evidence: Sequence[torch.Tensor], *, confidence: float) -> tuple[float, float]:
    """Mean gain in sureness over evaluations, and its lower bound over samples.

    ``evidence``: differences with minus without the seed, (N,) for each evaluation, on the same samples.
    """
    differences = torch.stack(list(evidence)).double().mean(0)
    zero = torch.zeros_like(differences)
    unknown = torch.zeros(len(differences), dtype=torch.bool)
    return paired_gain(
        Scores(correct=unknown, sureness=differences, loss=0.0),
        Scores(correct=unknown, sureness=zero, loss=0.0),
        confidence=confidence,
    )


def _outcome(kept: torch.Tensor, x: torch.Tensor, y: object) -> str | None:
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        return f"it turns {tuple(x.shape)} into {tuple(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__}"
    if not torch.equal(kept, x):
        return "it changes its input in place"
    if not bool(torch.isfinite(y).all()):
        return "its output is not finite"
    error = float((y - x).abs().max())
    return None if error < IDENTITY_TOLERANCE else f"it is off the identity by {error:.2e}"


def _gradients(module: nn.Module, x: torch.Tensor) -> str | None:
    params = [param for param in module.parameters() if param.requires_grad]
    if not params:
        return None
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.enable_grad():
            direction = torch.randn(x.shape, generator=generator(0, "direction"))
            gradients = torch.autograd.grad((module(x) * direction).sum(), params, allow_unused=True)
    finally:
        for part, mode in modes:
            part.training = mode
    if all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in gradients):
        return None
    return "its gradient is not finite"


def _deployed(module: nn.Module, x: torch.Tensor, slot: Slot, blueprint: Blueprint) -> str | None:
    try:
        made = blueprint.deploy(module)
        with evaluating(made):
            y = made(x)
    except Exception as exc:  # noqa: BLE001  (as above)
        return f"it cannot be exported: {type(exc).__name__}: {exc}"
    if y.shape != x.shape or not float((y - x).abs().max()) < IDENTITY_TOLERANCE:
        return "what would be exported is not the identity"
    claimed, params = Footprint.of(blueprint.layers(slot)).params, sum(param.numel() for param in made.parameters())
    if params > claimed:
        return f"it has {params} parameters, its closed form says {claimed}"
    return None
