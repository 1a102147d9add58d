"""Sections on what it takes: time on the air against the law, latency, energy and batteries, limits that are broken."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from exporters.html.charts import Part, stacked
from exporters.html.page import Figure, Section, Table
from exporters.html.plane import Axis, Curve, Plane, chart
from simulators.fleet.result import FleetResult
from tamiyo_runtime.cli.fleet_page.figures import (
    Floats,
    cumulative,
    days,
    groups,
    number_of,
    percentage,
    quantile,
    seconds,
)
from tamiyo_runtime.contracts.units import si

_SPENDING = {
    "radio: sending": ("radio_sending_mj", 1),
    "radio: listening": ("radio_listening_mj", 0),
    "radio: waiting": ("radio_waiting_mj", 3),
    "radio: asleep": ("radio_sleep_mj", 5),
    "inferences": ("inference_mj", 2),
    "board asleep": ("board_sleep_mj", 4),
}
"""What energy goes into: its column and colour."""
_LIMITS = {
    "over_latency": "an inference takes longer than its budget",
    "over_power": "inferences draw more than their power budget",
    "over_airtime": "the busiest hour holds more than the airtime budget",
    "over_bytes": "more payload a day than the budget",
    "over_duty_cycle": "the busiest hour holds more than the law allows",
}
_DAY_S = 86_400.0
_BINS = 36
_FAR = 8.0
_MOST_OFFENDERS = 12


def sections(result: FleetResult) -> list[Section]:
    """All of them."""
    found = [_airtime(result), _latency(result), _energy(result), _batteries(result), _violations(result)]
    return [one for one in found if one is not None]


def _airtime(result: FleetResult) -> Section | None:
    busiest = result.devices.busiest_hour_s
    if not (busiest > 0).any():
        return None
    silent = int((busiest == 0).sum())
    caps = sorted({facts.limit_s_per_hour for facts in result.groups if facts.limit_s_per_hour is not None})
    axis, edges = _airtime_axis(busiest, caps)
    counts = np.histogram(busiest[busiest > 0], bins=edges)[0].tolist()
    plane = Plane(
        axis,
        Axis(low=0.0, high=max(counts) * 1.1, label="devices"),
        title="airtime of the busiest hour against what the law allows",
    )
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            plane.bar(low, high, count, "f0 edged", tip=f"{low:.3g} to {high:.3g} s: {count:,} devices")
    for cap in caps:
        plane.limit(cap, f"law: {cap:g} s an hour", upright=True)
    left_out = f" {silent:,} devices sent nothing." if silent else ""
    rows = []
    for number, name, part in groups(result):
        allowed = result.groups[number].limit_s_per_hour
        some = busiest[part]
        if not (some > 0).any():
            continue
        worst = part.start + int(np.nanargmax(some))
        rows.append(
            [
                name,
                "" if allowed is None else f"{allowed:g} s",
                *(f"{quantile(some, q) or 0.0:.3g} s" for q in (0.5, 0.99)),
                f"{busiest[worst]:.3g} s",
                number_of(result, worst),
            ]
        )
    return Section(
        "Time on the air in the busiest hour",
        "The most that each device has on the air in any hour, wherever it begins (simulated), by the exact "
        "time-on-air formula.",
        (
            Figure(plane.render(), f"Distribution over devices; dashed: what the duty cycle allows.{left_out}"),
            Table(["group", "law", "median", "99th percentile", "worst", "worst device"], rows),
        ),
    )


def _airtime_axis(busiest: Floats, caps: Sequence[float]) -> tuple[Axis, list[float]]:
    """An axis that holds all devices and the law, and edges of bins: logarithmic where they are far apart."""
    used = busiest[busiest > 0]
    label = "seconds on the air in a device's busiest hour"
    most = max(float(used.max()), *caps, 1e-3) * 1.08
    least = float(used.min()) / 1.3
    if float(used.max()) * _FAR >= most:
        return Axis(low=0.0, high=most, label=label), np.linspace(0.0, most, _BINS + 1).tolist()
    edges = np.geomspace(least, most, _BINS + 1).tolist()
    return Axis(low=least, high=most, label=f"{label} (logarithmic)", logarithmic=True), edges


def _latency(result: FleetResult) -> Section | None:
    devices = result.devices
    columns = {
        "median of a device": devices.latency_p50_ms,
        "its 95th percentile": devices.latency_p95_ms,
        "its 99th percentile": devices.latency_p99_ms,
    }
    known = np.concatenate([values[np.isfinite(values) & (values > 0)] for values in columns.values()])
    if not known.size:
        return None
    low, high = float(known.min()) / 1.3, float(known.max()) * 1.3
    plane = chart(
        Axis(
            low=low,
            high=high,
            label="from a message to its delivery (logarithmic)",
            text=lambda value: seconds(1e-3 * value),
            logarithmic=True,
        ),
        Axis(low=0.0, high=1.0, label="share of devices", text=lambda value: f"{100 * value:.0f} %"),
        [
            Curve(label=label, points=cumulative(values), colour=number, dashed=number == 1)
            for number, (label, values) in enumerate(columns.items())
            if np.isfinite(values).any()
        ],
        title="latency: share of devices up to a time",
    )
    rows = []
    for _, name, part in groups(result):
        cells = [quantile(values[part], 0.5) for values in columns.values()]
        if cells[0] is None:
            continue
        worst = part.start + int(np.nanargmax(devices.latency_p99_ms[part]))
        slowest = seconds(1e-3 * float(devices.latency_p99_ms[worst]))
        rows.append([name, *(seconds(1e-3 * (cell or 0.0)) for cell in cells), slowest, number_of(result, worst)])
    head = ["group", "median", "95th percentile", "99th percentile", "worst 99th", "of device"]
    return Section(
        "Latency",
        "Each device has its own median, 95th and 99th percentile over the messages that arrived (simulated); the "
        "curves are their distribution over devices. The table has the middle device of each group.",
        (Figure(plane.render(), "Up to the time on the axis, cumulative."), Table(head, rows)),
    )


def _energy(result: FleetResult) -> Section:
    devices, length_days = result.devices, result.scenario.days
    rows, table = [], []
    for _, name, part in groups(result):
        count = part.stop - part.start
        total = float(devices.energy_mj[part].sum()) * 1e-3 / count / length_days
        parts, cells = [], [name, f"{count:,}"]
        for kind, (column, colour) in _SPENDING.items():
            joules = float(getattr(devices, column)[part].sum()) * 1e-3 / count / length_days
            tip = f"{name}, {kind}: {si(joules, 'J')} a day"
            parts.append(Part(kind=kind, value=joules / total if total else 0.0, colour=colour, tip=tip))
            cells.append(si(joules, "J"))
        rows.append((name, parts, si(total, "J")))
        table.append([*cells, si(total, "J"), si(total / _DAY_S, "W")])
    drawn = stacked(rows, title="energy of a device, by what it goes into")
    head = ["group", "devices", *_SPENDING, "all, a day", "on average"]
    return Section(
        "Energy",
        "Of the average device of each group, a day (simulated): the radio in its states, inferences by the cost "
        "model, the board between them.",
        (Figure(drawn, "Shares of a device's energy; at the end what it takes a day."), Table(head, table)),
    )


def _batteries(result: FleetResult) -> Section | None:
    life = result.devices.battery_days
    fed = ~np.isnan(life)
    if not fed.any():
        return None
    finite = life[np.isfinite(life)]
    rows = []
    for _, name, part in groups(result):
        some = life[part]
        if np.isnan(some).all():
            continue
        worst = part.start + int(np.nanargmin(some))
        low, middle, high = (_middle(some, q) for q in (0.01, 0.5, 0.99))
        rows.append([name, days(low), days(middle), days(high), days(float(life[worst])), number_of(result, worst)])
    parts: list[Table | Figure] = []
    if finite.size:
        longest = float(finite.max())
        years = longest > 3 * 365.25
        unit = 365.25 if years else 1.0
        plane = chart(
            Axis(low=0.0, high=longest * 1.06 / unit, label="years from now" if years else "days from now"),
            Axis(low=0.0, high=1.0, label="devices that still run", text=lambda value: f"{100 * value:.0f} %"),
            [
                Curve(label=name, points=_alive(life[part], unit), colour=number % 6, dashed=number % 2 == 1)
                for number, name, part in groups(result)
                if np.isfinite(life[part]).any()
            ],
            title="share of devices with a battery that still run",
        )
        if result.scenario.days < longest:
            plane.limit(result.scenario.days / unit, "end of the run", upright=True)
        parts.append(
            Figure(plane.render(), "Battery life drawn on from the run's mean power: an extrapolation beyond its end.")
        )
    head = ["group", "1st percentile", "median", "99th percentile", "shortest", "of device"]
    parts.append(Table(head, rows))
    return Section(
        "Batteries",
        "How long each device's battery lasts if it goes on as in the run (simulated).",
        parts,
    )


def _middle(values: Floats, q: float) -> float:
    """A quantile in which batteries that never empty count as such."""
    ordered = np.sort(values[~np.isnan(values)])
    return float(ordered[min(len(ordered) - 1, math.floor(q * len(ordered)))])


def _alive(life_days: Floats, unit: float) -> list[tuple[float, float]]:
    """Share of batteries that last beyond a time."""
    fed = life_days[~np.isnan(life_days)]
    share = float(np.isfinite(fed).mean())
    ends = [(days_ / unit, 1.0 - gone * share) for days_, gone in cumulative(fed)]
    return [(0.0, 1.0), *ends]


def _violations(result: FleetResult) -> Section:
    devices = result.devices
    rows = [
        [name, what, f"{int(getattr(devices, column)[part].sum()):,}", percentage(_share(result, column, part))]
        for _, name, part in groups(result)
        for column, what in _LIMITS.items()
        if getattr(devices, column)[part].any()
    ]
    if not rows:
        return Section("Limits", "No device broke a limit of its budget or of the law in this run (simulated).")
    worst = np.argsort(-devices.violations, kind="stable")[:_MOST_OFFENDERS].tolist()
    offenders = [
        [number_of(result, row), ", ".join(what for column, what in _LIMITS.items() if getattr(devices, column)[row])]
        for row in worst
        if devices.violations[row]
    ]
    total = int((devices.violations > 0).sum())
    return Section(
        "Limits",
        f"{total:,} of {len(devices):,} devices broke a limit of their budget or of the law (simulated).",
        (
            Table(["group", "limit", "devices", "of the group"], rows),
            Table(["device", "broke"], offenders, fold=f"the first {len(offenders)} by number of limits broken"),
        ),
    )


def _share(result: FleetResult, column: str, part: slice) -> float:
    return float(getattr(result.devices, column)[part].mean())
