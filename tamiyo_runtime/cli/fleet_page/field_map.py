"""The field from above: gateways, and devices by how much of theirs arrives; as cells where there are too many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exporters.html.page import Figure, Section, Table
from exporters.html.svg import WIDTH, Drawing
from simulators.fleet.result import FleetResult, Ints
from tamiyo_runtime.cli.fleet_page.figures import Floats, delivery, number_of, percentage
from tamiyo_runtime.contracts.units import plural

_MOST_DOTS = 2500
_MOST_WORST = 20
_MARGIN = 16.0
_TALLEST = 620.0
_FOOT = 44.0
_CELLS = 44  # along the wider side
_SCALE = 0.25  # of the width at most


@dataclass(frozen=True, slots=True)
class _Class:
    """Devices from a share of delivery on: how they are called, drawn and coloured."""

    least: float
    label: str
    mark: str
    colour: int


_CLASSES = (
    _Class(0.99, "99 % or more", "dot", 2),
    _Class(0.9, "90 to 99 %", "ring", 0),
    _Class(0.5, "50 to 90 %", "diamond", 1),
    _Class(0.0, "below 50 %", "cross", 4),
)
_SILENT = _Class(-1.0, "nothing sent", "speck", 5)


@dataclass(frozen=True, slots=True)
class _View:
    """From metres to the drawing, north up."""

    left_m: float
    top_m: float
    per_m: float
    height: float

    def at(self, x_m: float, y_m: float) -> tuple[float, float]:
        return _MARGIN + (x_m - self.left_m) * self.per_m, _MARGIN + (self.top_m - y_m) * self.per_m


def section(result: FleetResult) -> Section | None:
    """The map; None where no device has a place."""
    devices = result.devices
    placed = np.flatnonzero(np.isfinite(devices.x_m) & np.isfinite(devices.y_m))
    if not placed.size:
        return None
    view = _view(
        np.concatenate([devices.x_m[placed], result.gateways.x_m, [0.0]]),
        np.concatenate([devices.y_m[placed], result.gateways.y_m, [0.0]]),
    )
    shares = delivery(devices)
    drawing = Drawing(
        view.height + _FOOT, title=f"map of {placed.size} devices and {len(result.gateways.x_m)} gateways"
    )
    drawing.box(0, 0, WIDTH, view.height, "box")
    crowded = placed.size > _MOST_DOTS
    if crowded:
        _cells(drawing, view, result, placed, shares)
    else:
        for row in sorted(placed.tolist(), key=lambda row: -1.0 if math.isnan(shares[row]) else -shares[row]):
            x, y = view.at(float(devices.x_m[row]), float(devices.y_m[row]))
            _mark(drawing, x, y, _class_of(float(shares[row])), tip=_tip(result, row, float(shares[row])))
    for number in range(len(result.gateways.x_m)):
        x, y = view.at(float(result.gateways.x_m[number]), float(result.gateways.y_m[number]))
        got = int(result.gateways.received[number])
        drawing.path(
            [(x, y - 9), (x + 8, y + 6), (x - 8, y + 6)],
            "gateway",
            closed=True,
            tip=f"gateway {number}: received {got:,} packets",
        )
        drawing.text(x + 10, y - 4, f"G{number}", "small")
    _foot(drawing, view, crowded=crowded)
    left_out = len(devices) - placed.size
    caption = "Triangles: gateways. North is up; point at a mark for its figures. All simulated."
    if crowded:
        caption += f" {placed.size:,} devices, in cells: by the mean delivery of a cell, fainter where it holds fewer."
    if left_out:
        caption += f" {left_out:,} devices have no place: their link's distance is all that counts."
    worst = _worst(result, placed, shares)
    return Section("The field", "", (Figure(drawing.render(), caption), worst))


def _worst(result: FleetResult, placed: Ints, shares: Floats) -> Table:
    """The devices to look at first, for those who cannot point at a map."""
    devices = result.devices
    heard = placed[~np.isnan(shares[placed])]
    rows = [
        [
            number_of(result, row),
            percentage(float(shares[row]), digits=2),
            f"{int(devices.messages[row]):,}",
            f"{devices.x_m[row]:.0f} m",
            f"{devices.y_m[row]:.0f} m",
            f"{devices.distance_m[row]:.0f} m",
            f"{devices.signal_db[row]:.1f}",
        ]
        for row in heard[np.argsort(shares[heard], kind="stable")][:_MOST_WORST].tolist()
    ]
    head = ["device", "arrived", "messages", "east", "north", "distance", "signal, dB"]
    return Table(head, rows, fold=f"the {plural(len(rows), 'device')} of which least arrives")


def _view(x_m: Floats, y_m: Floats) -> _View:
    wide, tall = float(np.ptp(x_m)), float(np.ptp(y_m))
    if wide == tall == 0:
        wide = tall = 100.0
    per_m = min((WIDTH - 2 * _MARGIN) / max(wide, 1e-9), (_TALLEST - 2 * _MARGIN) / max(tall, 1e-9))
    height = max(tall * per_m, 60.0) + 2 * _MARGIN
    spare_m = (WIDTH - 2 * _MARGIN) / per_m - wide
    below_m = (height - 2 * _MARGIN) / per_m - tall
    return _View(float(x_m.min()) - spare_m / 2, float(y_m.max()) + below_m / 2, per_m, height)


def _class_of(value: float) -> _Class:
    return _SILENT if math.isnan(value) else next(one for one in _CLASSES if value >= one.least)


def _tip(result: FleetResult, row: int, value: float) -> str:
    devices = result.devices
    lines = [
        number_of(result, row),
        f"{percentage(value) or 'nothing'} of {int(devices.messages[row]):,} messages arrived",
        f"{devices.distance_m[row]:.0f} m, {devices.signal_db[row]:.0f} dB"
        + (f", DR{int(devices.data_rate[row])}" if devices.data_rate[row] >= 0 else ""),
    ]
    return "\n".join(lines)


def _mark(drawing: Drawing, x: float, y: float, kind: _Class, *, tip: str = "") -> None:
    if kind.mark == "dot":
        drawing.dot(x, y, f"f{kind.colour}", radius=3.2, tip=tip)
    elif kind.mark == "ring":
        drawing.dot(x, y, f"hollow s{kind.colour}", radius=3.4, tip=tip)
    elif kind.mark == "diamond":
        points = [(x, y - 4.2), (x + 4.2, y), (x, y + 4.2), (x - 4.2, y)]
        drawing.path(points, f"f{kind.colour}", closed=True, tip=tip)
    elif kind.mark == "cross":
        arm = 4.0
        points = [(x - arm, y - arm), (x + arm, y + arm), (x, y), (x - arm, y + arm), (x + arm, y - arm)]
        drawing.path(points, f"curve s{kind.colour}", tip=tip)
    else:
        drawing.dot(x, y, f"f{kind.colour}", radius=1.6, tip=tip)


def _cells(drawing: Drawing, view: _View, result: FleetResult, placed: Ints, shares: Floats) -> None:
    size = (WIDTH - 2 * _MARGIN) / _CELLS
    devices = result.devices
    across = ((devices.x_m[placed] - view.left_m) * view.per_m / size).astype(np.int64)
    down = ((view.top_m - devices.y_m[placed]) * view.per_m / size).astype(np.int64)
    cells, where = np.unique(np.column_stack([down, across]), axis=0, return_inverse=True)
    where = where.reshape(-1)
    counts = np.bincount(where)
    sent = np.bincount(where, weights=devices.messages[placed])
    arrived = np.bincount(where, weights=devices.delivered[placed])
    fullest = int(counts.max())
    for number, (row, column) in enumerate(cells.tolist()):
        value = arrived[number] / sent[number] if sent[number] else math.nan
        kind = _class_of(value)
        step = math.ceil(4 * counts[number] / fullest)
        x, y = _MARGIN + column * size, _MARGIN + row * size
        faint = f" d{step}" if step < 4 else ""
        tip = f"{int(counts[number]):,} devices, {percentage(value) or 'nothing'} of their messages arrived"
        drawing.box(x, y, size - 0.8, size - 0.8, f"f{kind.colour}{faint}", tip=tip)
        if kind.mark in ("diamond", "cross"):
            drawing.path([(x + 2, y + 2), (x + size - 3, y + size - 3)], "curve ink")
        if kind.mark == "cross":
            drawing.path([(x + 2, y + size - 3), (x + size - 3, y + 2)], "curve ink")


def _foot(drawing: Drawing, view: _View, *, crowded: bool) -> None:
    """The scale bar and the legend."""
    length_m = _round_below(WIDTH * _SCALE / view.per_m)
    y, end = view.height + 18, 4 + length_m * view.per_m
    drawing.line(4, y, end, y, "ink")
    for x in (4.0, end):
        drawing.line(x, y - 4, x, y + 4, "ink")
    drawing.text(4, y + 17, f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m", "small")
    x = 240.0
    for kind in (*_CLASSES, _SILENT):
        if crowded:
            drawing.box(x - 5, y - 7, 12, 12, f"f{kind.colour}")
            if kind.mark in ("diamond", "cross"):
                drawing.path([(x - 4, y - 6), (x + 6, y + 4)], "curve ink")
            if kind.mark == "cross":
                drawing.path([(x - 4, y + 4), (x + 6, y - 6)], "curve ink")
        else:
            _mark(drawing, x, y - 1, kind)
        drawing.text(x + 11, y + 3, kind.label, "small")
        x += 34 + 6.2 * len(kind.label)


def _round_below(value: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value)
