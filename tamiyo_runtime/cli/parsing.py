"""Options that hold more than one value, as text and as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.mission import Mission

_BUDGET_KEYS = ("latency-ms", "power-mw", "energy-burst-mj", "temperature-c")


def number(text: str, option: str) -> float:
    """A finite number; raises UsageError naming the option."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  only NaN differs from itself
        raise UsageError(f"{option}: {text!r} is not a number", hint="write it like 2.5")
    return value


def check_finite(options: Mapping[str, float | None]) -> None:
    """Raise UsageError for an option that is infinite, which a bound from below lets through."""
    for option, value in options.items():
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{option}: {value} is not a number that can be meant", hint="write it like 2.5")


def throttle_phases(text: str | None) -> list[tuple[float, float]]:
    """``20:2.5,40:1`` as [(20.0, 2.5), (40.0, 1.0)]: from second 20 on 2.5 times slower, from 40 on rated speed."""
    phases = []
    for part in (text or "").split(","):
        if not part:
            continue
        start, separator, slowdown = part.partition(":")
        if not separator:
            raise UsageError(f"--throttle: {part!r} is not START_S:SLOWDOWN", hint="as in --throttle 20:2.5,40:1")
        phases.append((number(start, "--throttle"), number(slowdown, "--throttle")))
    return phases


def changed_budget(
    budget: Budget,
    *,
    latency_ms: float | None = None,
    power_mw: float | None = None,
    energy_burst_mj: float | None = None,
    temperature_c: float | None = None,
) -> Budget:
    """A budget with other limits; 0 lifts one. Power and burst go together: a missing half is taken from ``budget``.

    Raises UsageError when that has none.
    """
    if latency_ms is not None:
        budget = replace(budget, latency_ms=latency_ms or None)
    if temperature_c is not None:
        budget = replace(budget, temperature_c=temperature_c or None)
    if power_mw == 0 or energy_burst_mj == 0:
        return replace(budget, power_mw=None, energy_burst_uj=None)
    power = budget.power_mw if power_mw is None else power_mw
    burst = budget.energy_burst_uj if energy_burst_mj is None else energy_burst_mj * 1e3
    if (power is None) != (burst is None):
        raise UsageError(
            "an energy budget needs both its power and its burst",
            hint="pass --power-mw and --energy-burst-mj; the burst is what may be spent at once",
        )
    return replace(budget, power_mw=power, energy_burst_uj=burst)


def mission_of(hours: float | None, battery_mwh: float | None) -> Mission | None:
    """How long which battery has to last, None for whatever; raises UsageError for one without the other."""
    if hours is None and battery_mwh is None:
        return None
    if hours is None or battery_mwh is None:
        raise UsageError(
            "a mission needs both its length and its battery", hint="as in --mission-hours 24 --battery-mwh 8250"
        )
    try:
        return Mission(battery_mwh=battery_mwh, hours=hours)
    except SchemaError as exc:
        raise UsageError(f"--mission-hours, --battery-mwh: {exc.message}", hint="write them like 24 and 8250") from exc


def budget_schedule(texts: Sequence[str], start: Budget) -> list[tuple[float, Budget]]:
    """``["30:latency-ms=5,power-mw=20"]`` as [(30.0, Budget)]; each entry changes the one before it."""
    schedule: list[tuple[float, Budget]] = []
    entries = []
    for text in texts:
        when, separator, changes = text.partition(":")
        if not separator or not changes:
            raise UsageError(
                f"--budget-at: {text!r} is not TIME_S:LIMIT=VALUE,...", hint="as in --budget-at 30:latency-ms=5"
            )
        entries.append((number(when, "--budget-at"), changes))
    budget = start
    for when_s, changes in sorted(entries):
        values: dict[str, float | None] = dict.fromkeys(_BUDGET_KEYS)
        for change in changes.split(","):
            key, _, value = change.partition("=")
            if key not in _BUDGET_KEYS:
                raise UnknownNameError("limit", key, _BUDGET_KEYS)
            values[key] = number(value, f"--budget-at {key}")
        budget = changed_budget(
            budget,
            latency_ms=values["latency-ms"],
            power_mw=values["power-mw"],
            energy_burst_mj=values["energy-burst-mj"],
            temperature_c=values["temperature-c"],
        )
        schedule.append((when_s, budget))
    return schedule
