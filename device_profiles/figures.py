"""A figure of a device: value, interval, unit and where it comes from; and the rules a figure has to keep.

A rule holds the legal units of a figure and, for each, the range outside which nobody has seen a device: it is there to
catch watts written as milliwatts and seconds as milliseconds, not to judge the device.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tamiyo_runtime.contracts.errors import SchemaError

_FIELDS = ("value", "low", "high", "unit", "source")


class Basis(StrEnum):
    """How a figure came about."""

    PUBLISHED = "published"  # printed by somebody who measured it
    FITTED = "fitted"  # least misfit to published measurements
    CALIBRATED = "calibrated"  # least misfit to runs of this very device
    ESTIMATE = "estimate"  # an engineer's judgement; the interval says how wide
    CHOICE = "choice"  # not a property of the device but a default somebody picked


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where figures come from. ``text`` names the publication, or the reasoning behind an estimate."""

    basis: Basis
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure; ``low <= value <= high``, all in ``unit``. A choice has no interval: low = value = high."""

    value: float
    low: float
    high: float
    unit: str
    citation: Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a figure must be: ``units`` maps each legal unit to its plausible range.

    ``needed``: a section without it is refused. ``whole``: a count, so no fractions.
    """

    meaning: str
    units: Mapping[str, tuple[float, float]]
    needed: bool = True
    whole: bool = False


def rule(meaning: str, unit: str, low: float, high: float, *, needed: bool = True, whole: bool = False) -> Rule:
    """A rule with one legal unit."""
    return Rule(meaning=meaning, units={unit: (low, high)}, needed=needed, whole=whole)


def read_figure(data: Any, figure_rule: Rule, citations: Mapping[str, Citation], *, path: str) -> Figure:
    """Read ``{ value, low, high, unit, source }``; raises SchemaError naming the path and what is legal there."""
    if not isinstance(data, Mapping):
        example = f"{{ value = ..., low = ..., high = ..., unit = {min(figure_rule.units)!r}, source = ... }}"
        raise SchemaError(path, f"must be a table with its unit and source, got {data!r}", hint=f"write {example}")
    check_keys(data, _FIELDS, path=path)
    citation = _citation(data, citations, path)
    unit = _unit(data, figure_rule, path)
    value = number(data, "value", path=path)
    if citation.basis is Basis.CHOICE:
        if not {"low", "high"}.isdisjoint(data):
            raise SchemaError(path, "a choice has no interval", hint="leave out low and high, or cite another source")
        low = high = value
    else:
        low, high = number(data, "low", path=path), number(data, "high", path=path)
    if not low <= value <= high:
        raise SchemaError(path, f"low <= value <= high is false: {low:g}, {value:g}, {high:g}")
    least, most = figure_rule.units[unit]
    for name, item in (("value", value), ("low", low), ("high", high)):
        if not least <= item <= most:
            raise SchemaError(
                f"{path}.{name}",
                f"{item:g} {unit} is not plausible for this: {figure_rule.meaning}",
                hint=f"plausible is {least:g} to {most:g} {unit}; was the figure taken in another unit?",
            )
        if figure_rule.whole and item != int(item):
            raise SchemaError(f"{path}.{name}", f"must be a whole number, got {item:g}")
    return Figure(value=value, low=low, high=high, unit=unit, citation=citation)


def check_keys(data: Mapping[str, Any], legal: Iterable[str], *, path: str, optional: Iterable[str] = ()) -> None:
    """Refuse unknown keys with the nearest legal one; raises SchemaError. Missing keys are found by who reads them."""
    names = sorted({*legal, *optional})
    for key in data:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=2, cutoff=0.5)
            guess = f"did you mean {' or '.join(near)}? " if near else ""
            raise SchemaError(path, f"unknown key '{key}'", hint=f"{guess}legal here: {', '.join(names)}")


def number(data: Mapping[str, Any], key: str, *, path: str) -> float:
    """A finite number under ``key``; raises SchemaError."""
    value = require_key(data, key, path=path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SchemaError(f"{path}.{key}", f"must be a finite number, got {value!r}")
    return float(value)


def text(data: Mapping[str, Any], key: str, *, path: str) -> str:
    """A non-empty string under ``key``; raises SchemaError."""
    value = require_key(data, key, path=path)
    if not isinstance(value, str) or not value.strip():
        raise SchemaError(f"{path}.{key}", f"must be a non-empty string, got {value!r}")
    return value


def require_key(data: Mapping[str, Any], key: str, *, path: str) -> Any:
    """What stands under ``key``; raises SchemaError when nothing does."""
    if key not in data:
        raise SchemaError(path, f"missing key '{key}'")
    return data[key]


def _citation(data: Mapping[str, Any], citations: Mapping[str, Citation], path: str) -> Citation:
    name = text(data, "source", path=path)
    if name not in citations:
        near = difflib.get_close_matches(name, citations, n=2, cutoff=0.5)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        legal = ", ".join(sorted(citations)) or "none"
        raise SchemaError(f"{path}.source", f"'{name}' is not in [sources]", hint=f"{guess}legal here: {legal}")
    return citations[name]


def _unit(data: Mapping[str, Any], figure_rule: Rule, path: str) -> str:
    unit = text(data, "unit", path=path)
    if unit not in figure_rule.units:
        legal = " or ".join(figure_rule.units)
        raise SchemaError(f"{path}.unit", f"'{unit}' is not a legal unit here", hint=f"convert the figure to {legal}")
    return unit
