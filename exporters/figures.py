"""Figures of a report as text: each with its interval and the word that says where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tamiyo_runtime.contracts.cost import Estimate
from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent

_Z95 = 1.959964  # quantile of the normal distribution at 97.5 %

NOT_RECORDED = "not recorded"


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share found in ``count`` independent samples; (0, 1) when there are none."""
    if count <= 0:
        return 0.0, 1.0
    square = _Z95 * _Z95
    centre = share + square / (2 * count)
    spread = _Z95 * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    scale = 1 + square / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def share_text(share: float | None) -> str:
    """A share, or that nobody recorded it."""
    return NOT_RECORDED if share is None else percent(share)


def accuracy_text(share: float | None, count: int) -> str:
    """An accuracy with its interval: ``94.4 % (91.6 to 96.4)``; without it where the count is not known, as 0."""
    if share is None or not count:
        return share_text(share)
    low, high = wilson(share, count)
    return f"{percent(share)} ({100 * low:.1f} to {100 * high:.1f})"


def latency_text(estimate: Estimate) -> str:
    """A latency with its interval: ``154 us (85 us to 223 us)``."""
    return f"{milliseconds(estimate.value)} ({milliseconds(estimate.low)} to {milliseconds(estimate.high)})"


def energy_text(estimate: Estimate) -> str:
    """An energy with its interval: ``463 uJ (210 uJ to 880 uJ)``."""
    return f"{microjoules(estimate.value)} ({microjoules(estimate.low)} to {microjoules(estimate.high)})"


def facts(record: Mapping[str, Any], *, prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as a flat list of names and values, in order of names; lists are joined."""
    rows: list[tuple[str, str]] = []
    for key, value in sorted(record.items()):
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += facts(value, prefix=f"{prefix}{key}: ")
        elif isinstance(value, float):
            rows.append((name, f"{value:.6g}"))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value))))
        else:
            rows.append((name, str(value)))
    return rows
