"""Figures of a run that several parts of the page show, each as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulators.fleet.result import Devices, Fate, FleetResult

Floats = NDArray[np.float64]
COLOUR_OF_FATE = {
    Fate.COLLIDED: 1,
    Fate.NO_PATH: 3,
    Fate.GATEWAY_SENDING: 0,
    Fate.GATEWAY_DOWN: 5,
    Fate.TOO_WEAK: 4,
    Fate.LOST: 1,
    Fate.NO_COVERAGE: 4,
}
"""Colour number of each way to be lost."""
_MOST_POINTS = 200
_SHELF_YEARS = 20


def delivery(devices: Devices) -> Floats:
    """(devices,) share of the messages sent that arrived; NaN where none was sent."""
    with np.errstate(invalid="ignore"):
        return np.where(devices.messages > 0, devices.delivered / devices.messages, np.nan)


def share(part: float, whole: float) -> float | None:
    """A fraction; None of nothing."""
    return part / whole if whole else None


def percentage(value: float | None, *, digits: int = 1) -> str:
    """A share as text, empty for None and NaN."""
    return "" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def cumulative(values: Floats) -> list[tuple[float, float]]:
    """Points (value, share of values up to it), thinned to `_MOST_POINTS`; values that are NaN are left out."""
    ordered = np.sort(values[np.isfinite(values)])
    if not ordered.size:
        return []
    ranks = np.unique(np.linspace(0, ordered.size - 1, min(ordered.size, _MOST_POINTS)).astype(np.int64))
    steps: list[tuple[float, float]] = [(float(ordered[0]), 0.0)]
    for rank in ranks.tolist():
        steps.append((float(ordered[rank]), (rank + 1) / ordered.size))
    return steps


def quantile(values: Floats, q: float) -> float | None:
    """A quantile of what is finite; None of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, q)) if finite.size else None


def number_of(result: FleetResult, row: int) -> str:
    """What a device is called: its group, and its number there from 0."""
    group = int(result.devices.group[row])
    return f"{result.groups[group].name} {row - result.scenario.first_of(group)}"


def groups(result: FleetResult) -> Sequence[tuple[int, str, slice]]:
    """Number, name and rows of each group."""
    return [(number, facts.name, result.rows_of(number)) for number, facts in enumerate(result.groups)]


def seconds(value: float) -> str:
    """A duration for a reader: ms below a second, hours above two."""
    if value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:.3g} h"


def days(value: float) -> str:
    """A time that a battery lasts; no figure beyond `_SHELF_YEARS`, since no model here knows a battery's age."""
    if math.isinf(value):
        return "never empty"
    if value > _SHELF_YEARS * 365.25:
        return f"over {_SHELF_YEARS} years"
    return f"{value / 365.25:.2g} years" if value >= 365.25 else f"{value:.3g} days"
