"""How far the policy's auxiliary heads can be believed: what they foretold on held-out decisions, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tamiyo_train.policy.network import HeadViews, PolicyNetwork
from tamiyo_train.policy.rollout import Rollout

Tensor = torch.Tensor
BINS = 10
HEADS = {"safety": ("drift risk", "rollback need", "alert"), "hardware": ("latency ok", "memory ok")}
"""What each auxiliary head foretells of the window after a decision, in its order."""


def calibration(network: PolicyNetwork, rollouts: Sequence[Rollout]) -> dict[str, dict[str, Any]]:
    """Reliability of every auxiliary head over all decisions of the episodes."""
    views, found = HeadViews(network.heads), {}
    with torch.no_grad():
        outs = [views(network(rollout.decisions.vector)) for rollout in rollouts]
    for head, names in HEADS.items():
        logits = torch.cat([out[head] for out in outs])
        happened = torch.cat([getattr(rollout.decisions, head) for rollout in rollouts])
        for index, name in enumerate(names):
            found[name] = reliability(logits[:, index], happened[:, index])
    return found


def reliability(logits: Tensor, happened: Tensor) -> dict[str, Any]:
    """Of predictions (D,) and what came, (D,) of 0 and 1; p is cut into `BINS` equal bins.

    ``share`` it happened; ``ece``: expected calibration error, the mean gap of foretold and seen; ``skill``: 1 - Brier
    score over that of always saying the share, None where it always or never happened; ``bins``: share of decisions in
    each bin that has any, with mean p and share it happened there.
    """
    p, happened = logits.double().sigmoid(), happened.double()
    number = (p * BINS).long().clamp_max(BINS - 1)
    bins = []
    for index in range(BINS):
        inside = number == index
        if bool(inside.any()):
            bins.append([float(t.mean()) for t in (inside.double(), p[inside], happened[inside])])
    share = float(happened.mean())
    known = share * (1 - share)
    return {
        "ece": sum(weight * abs(told - seen) for weight, told, seen in bins),
        "share": share,
        "skill": 1 - float((p - happened).square().mean()) / known if known > 0 else None,
        "bins": bins,
    }
