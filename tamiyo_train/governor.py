"""The governor of growth: what it watches in every training step, and when it panics.

It stands outside the policy: no action, no observation and no head of the policy reaches it. Judging is pure and
remembers through `Watch`; `guard.Guard` trains under its eyes and acts on what it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

from tamiyo_train.config import Limits
from tamiyo_train.snapshot import tensors_of

if TYPE_CHECKING:
    from tamiyo_train.trainer import Trainer


class Panic(StrEnum):
    """Why training is taken back."""

    NOT_FINITE = "not_finite"
    LOSS_SPIKE = "loss_spike"
    DRIFT = "drift_critical"
    NORM = "norm_blow_up"
    BUDGET = "budget_breach"
    BROKEN = "broken_seed"
    REGRESSION = "accuracy_regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the governor remembers: the losses of the window, and how many steps on end lay far above it.

    ``partial``: the last step left seeds out, so that its loss could not be judged. ``gate``: loss on the gate split of
    the last state that was found fit to go back to; ``deferred``: the state at the end of the last window was not.
    """

    losses: tuple[float, ...] = ()
    above: int = 0
    partial: bool = False
    gate: float | None = None
    deferred: bool = False

    @property
    def sure(self) -> bool:
        """Whether the last step was seen to be sound: only then is its outcome something to go back to."""
        return not self.above and not self.partial


def judge(
    limits: Limits,
    watch: Watch,
    *,
    loss: float,
    drift: float = 0.0,
    norm_ratio: float = 0.0,
    within_budget: bool = True,
) -> tuple[Watch, Panic | None]:
    """Judge one step; returns what to remember and why to panic, if so. ``norm_ratio`` is a log2.

    A loss far above the window does not enter it, so that a slow explosion cannot raise its own limit.
    """
    if not (math.isfinite(loss) and math.isfinite(drift) and math.isfinite(norm_ratio)):
        return watch, Panic.NOT_FINITE
    if not within_budget:
        return watch, Panic.BUDGET
    if drift >= limits.drift_critical:
        return watch, Panic.DRIFT
    if abs(norm_ratio) >= limits.norm_critical:
        return watch, Panic.NORM
    if len(watch.losses) >= limits.warm:
        mean = math.fsum(watch.losses) / len(watch.losses)
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in watch.losses) / len(watch.losses))
        if loss > mean + limits.sigmas * max(deviation, limits.sigma_floor):
            above = watch.above + 1
            return replace(watch, above=above, partial=False), Panic.LOSS_SPIKE if above >= limits.patience else None
    return replace(watch, losses=(*watch.losses, loss)[-limits.window :], above=0, partial=False), None


def fit_to_keep(limits: Limits, watch: Watch, *, gate: float) -> bool:
    """Whether a state is something to go back to; ``gate``: its loss on the gate split.

    A step's loss speaks of the state before its update. What the last update did shows on the gate split: a state far
    worse there than the last one is not trusted until a window of sound steps has followed it.
    """
    return watch.sure and math.isfinite(gate) and not fallen(limits, watch, gate=gate)


def fallen(limits: Limits, watch: Watch, *, gate: float) -> bool:
    """Whether a state is far worse on the gate split than the one to go back to, and no window of steps bore it out."""
    if watch.gate is None:
        return False
    within = gate <= watch.gate + limits.sigmas * limits.sigma_floor
    return not (within or (watch.deferred and math.isfinite(gate)))


def unsound(trainer: Trainer) -> str | None:
    """Name of the first weight, buffer or moment that is not finite; None when all are.

    The loss does not show all of them: a batch norm's running statistics act in evaluation only, and an infinite
    second moment silently ends the learning of its weight.
    """
    network, state = trainer.network, trainer.optimiser.state
    floats: list[torch.Tensor] = list(network.parameters())
    floats += [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    floats += [
        value for moments in state.values() for value in moments.values() if value.is_floating_point() and value.dim()
    ]
    if not floats or bool(torch.isfinite(torch.cat([tensor.detach().reshape(-1) for tensor in floats])).all()):
        return None
    for name, tensor in tensors_of(trainer).items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return "a tensor without a name"
