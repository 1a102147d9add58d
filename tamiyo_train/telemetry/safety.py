"""Safety of a slot as measured quantities, each in 0..1. They are inputs of the policy; it learns to predict others.

Drift says how far, rollback need how surely for the worse, an alert that a figure cannot be right: three different
things that are never mixed into one. Each is defined on a single reading, so none needs a history.
"""

from __future__ import annotations

import math

import torch

from tamiyo_runtime.contracts.features import SLOT
from tamiyo_train.config import Limits

_RANGES = {feature.name: feature for feature in SLOT}


def drift_risk(limits: Limits, *, drift_p95: float, log_norm_ratio: float) -> float:
    """How near a slot is to what the governor takes back: 1 at the critical drift or norm ratio, or beyond."""
    if not (math.isfinite(drift_p95) and math.isfinite(log_norm_ratio)):
        return 1.0
    return min(max(drift_p95 / limits.drift_critical, abs(log_norm_ratio) / limits.norm_critical), 1.0)


def rollback_need(present: torch.Tensor, absent: torch.Tensor) -> float:
    """Confidence that the network is worse off with a seed: erf(-z / sqrt 2), and 0 where z is not below 0.

    ``present`` and ``absent``: (N,) probability of the right class with and without it; z is the mean of the paired
    differences over its standard error. Without spread, or with one sample only, the sign of the mean decides. A figure
    that is not finite is 1.
    """
    differences = present.double() - absent.double()
    mean = float(differences.mean())
    if not math.isfinite(mean):
        return 1.0
    if mean >= 0:
        return 0.0
    error = float(differences.std()) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return math.erf(-mean / error / math.sqrt(2)) if error > 0 else 1.0


def alert(measured: dict[str, float]) -> float:
    """1 when one of a slot's measured features is not finite or beyond its range, else 0."""
    return float(any(not _RANGES[name].low <= value <= _RANGES[name].high for name, value in measured.items()))
