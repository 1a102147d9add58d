"""Operating points of a device: the clocks it can run at, and the power it then draws.

A profile's rates and powers hold at one clock, that of its engine. ``[points.NAME]`` tables name this clock and others.
The power at another point is the figure that somebody metered, or follows from the voltage there: what computing adds
to waiting goes as f V^2,

    P = P_idle + (P_active - P_idle) (f / f_rated) (V / V_rated)^2

Where two points of one chip were published with their energies, the NDP9120 of MLPerf Tiny at 0.9 V, 30 MHz and 1.1 V,
98 MHz, this gives 4.9 times the power and 4.1 to 4.3 times were metered: what does not switch does not scale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_profiles.figures import Citation, Figure, check_keys, read_figure, rule
from tamiyo_runtime.contracts.errors import SchemaError

SECTION = "points"
POINT = {
    "clock_mhz": rule("clock of the processor or the accelerator at this point", "MHz", 1, 6000),
    "volts": rule("supply of the core at this point", "V", 0.3, 5, needed=False),
    "active_mw": rule("power of the whole board while one core computes at this point", "mW", 0.1, 2e6, needed=False),
    "idle_mw": rule("power of the whole board while it waits at this point", "mW", 1e-3, 1e6, needed=False),
}
ENGINES = ("systolic.clock_mhz", "accelerator.clock_mhz", "compute.clock_mhz")
"""Whose clock the points are of: the first of these that a profile has."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A clock, and the whole board's power at it. ``rated``: the one that the profile's rates hold at."""

    name: str
    clock_mhz: float
    active_mw: float
    idle_mw: float
    rated: bool


def read_points(data: Any, citations: Mapping[str, Citation], *, path: str) -> dict[str, Figure]:
    """Read the ``[points.NAME]`` tables to figures by dotted name; raises SchemaError."""
    if not isinstance(data, Mapping):
        raise SchemaError(f"{path}: {SECTION}", f"must hold tables, got {data!r}", hint="write [points.NAME]")
    figures = {}
    for name, table in data.items():
        where = f"{path}: {SECTION}.{name}"
        if not _NAME.fullmatch(name):
            raise SchemaError(where, f"'{name}' is not lower-case words joined by '-'")
        if not isinstance(table, Mapping):
            raise SchemaError(where, f"must be a table, got {table!r}")
        check_keys(table, POINT, path=where)
        if "clock_mhz" not in table:
            raise SchemaError(where, "missing key 'clock_mhz'")
        for key, figure_rule in POINT.items():
            if key in table:
                read = read_figure(table[key], figure_rule, citations, path=f"{where}.{key}")
                figures[f"{SECTION}.{name}.{key}"] = read
    return figures


def points_of(figures: Mapping[str, Figure], *, path: str) -> tuple[OperatingPoint, ...]:
    """The points by rising clock, their powers worked out; raises SchemaError where they do not fit together."""
    found: dict[str, dict[str, float]] = {}
    for name, figure in figures.items():
        section, _, rest = name.partition(".")
        if section == SECTION:
            point, _, key = rest.rpartition(".")
            found.setdefault(point, {})[key] = figure.value
    if not found:
        return ()
    where = f"{path}: {SECTION}"
    engine = next(key for key in ENGINES if key in figures)
    rated_mhz = figures[engine].value
    ordered = sorted(found.items(), key=lambda item: item[1]["clock_mhz"])
    clocks = [values["clock_mhz"] for _, values in ordered]
    if len(set(clocks)) != len(clocks):
        raise SchemaError(where, "two points have one clock")
    rated = next((values for _, values in ordered if values["clock_mhz"] == rated_mhz), None)
    if rated is None:
        raise SchemaError(where, f"none is at {rated_mhz:g} MHz, the clock of {engine} that rates hold at")
    if not {"active_mw", "idle_mw"}.isdisjoint(rated):
        raise SchemaError(where, f"the rated point, {rated_mhz:g} MHz, draws what [power] says", hint="leave it out")
    active_mw, idle_mw = figures["power.active_mw"].value, figures["power.idle_mw"].value
    points = []
    for name, values in ordered:
        own_idle = values.get("idle_mw", idle_mw)
        if values is rated:
            own_active = active_mw
        elif "active_mw" in values:
            own_active = values["active_mw"]
        elif "volts" in values and "volts" in rated:
            scale = values["clock_mhz"] / rated_mhz * (values["volts"] / rated["volts"]) ** 2
            own_active = own_idle + (active_mw - idle_mw) * scale
        else:
            raise SchemaError(
                f"{where}.{name}",
                "says nothing of its power",
                hint="give active_mw, or volts here and at the rated",
            )
        if own_idle > own_active:
            raise SchemaError(f"{where}.{name}.idle_mw", f"{own_idle:g} mW is above the active {own_active:g} mW")
        points.append(
            OperatingPoint(
                name=name,
                clock_mhz=values["clock_mhz"],
                active_mw=own_active,
                idle_mw=own_idle,
                rated=values is rated,
            )
        )
    return tuple(points)
