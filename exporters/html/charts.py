"""The drawings of a bundle's report: accuracy against cost, bars with intervals, the network with its seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from exporters.html.plane import Axis, Plane
from exporters.html.svg import WIDTH, Drawing, bounds, shortened

_ROW = 22.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A configuration in the plane of cost and accuracy, with the intervals of both.

    ``front``: on the Pareto front; ``chosen``: the one that runs under the budget.
    """

    label: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    front: bool
    tip: str
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A labelled value with its interval; ``low`` and ``high`` None where there is none. ``colour`` 0 to 3."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    colour: int = 0
    tip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of the network as drawn: ``slot`` None is a piece of the trunk, which always runs."""

    name: str
    slot: int | None
    lines: tuple[str, ...]


def scatter(points: Sequence[Point], *, x_label: str, y_label: str, x_text: Callable[[float], str]) -> str:
    """Accuracy against cost: bars are intervals, filled points the front, joined; a ring marks the chosen one."""
    x_low, x_high = bounds([value for p in points for value in (p.x_low, p.x_high)])
    y_low, y_high = bounds([value for p in points for value in (p.y_low, p.y_high)])
    x_low = max(0.0, x_low)

    plane = Plane(
        Axis(low=x_low, high=x_high, label=x_label, text=x_text),
        Axis(low=y_low, high=y_high, label=y_label),
        title=f"{y_label} against {x_label}",
        height=330.0,
    )
    drawing, to_x, to_y = plane.drawing, plane.to_x, plane.to_y
    for point in points:
        style = "s2" if point.front else "softline"
        drawing.line(to_x(point.x_low), to_y(point.y), to_x(point.x_high), to_y(point.y), f"{style} faint")
        drawing.line(to_x(point.x), to_y(point.y_low), to_x(point.x), to_y(point.y_high), f"{style} faint")
    front = sorted((p for p in points if p.front), key=lambda p: p.x)
    for before, after in pairwise(front):
        drawing.line(to_x(before.x), to_y(before.y), to_x(after.x), to_y(after.y), "s2", dashed=True)
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (p.front, -p.y, p.x)):
        style = "s2 f2" if point.front else "softline hollow"
        if point.chosen:
            drawing.dot(to_x(point.x), to_y(point.y), "s1 empty", radius=8.5, tip=point.tip)
        drawing.dot(to_x(point.x), to_y(point.y), style, tip=point.tip)
        if point.front or point.chosen:
            flush = "end" if to_x(point.x) > WIDTH - 120 else ""
            shift = -8 if flush else 8
            x, y = to_x(point.x) + shift, to_y(point.y) + 17
            while any(abs(x - other_x) < 60 and abs(y - other_y) < 13 for other_x, other_y in taken):
                y += 13
            taken.append((x, y))
            drawing.text(x, y, shortened(point.label, 24), flush)
    return drawing.render()


def bars(items: Sequence[Bar], *, title: str, label_width: float = 210.0) -> str:
    """Horizontal bars from 0 on, one below the other; a thin line is the interval."""
    height = _ROW * len(items) + 12
    most = max((max(item.value, item.high or 0.0) for item in items), default=0.0) or 1.0
    room = WIDTH - label_width - 150
    drawing = Drawing(height, title=title)
    for row, item in enumerate(items):
        y = 6 + _ROW * row
        tip = item.tip or f"{item.label}: {item.text}"
        drawing.text(label_width - 8, y + 14, shortened(item.label, 34), "end")
        drawing.box(label_width, y + 3, max(item.value, 0.0) / most * room, _ROW - 8, f"f{item.colour}", tip=tip)
        end = label_width + max(item.value, 0.0) / most * room
        if item.low is not None and item.high is not None:
            middle = y + _ROW / 2 - 1
            left, right = (label_width + max(value, 0.0) / most * room for value in (item.low, item.high))
            drawing.line(left, middle, right, middle, "ink")
            for x in (left, right):
                drawing.line(x, middle - 4, x, middle + 4, "ink")
            end = max(end, right)
        drawing.text(end + 8, y + 14, item.text, "soft small")
    return drawing.render()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a bar: a value of a kind, drawn in the kind's colour. ``colour`` 0 to 5."""

    kind: str
    value: float
    colour: int
    tip: str


def stacked(rows: Sequence[tuple[str, Sequence[Part], str]], *, title: str) -> str:
    """Horizontal bars, each with its label, parts side by side and a text at its end; the kinds in a legend above and,
    where there is room, on the part."""
    label_width, head = 170.0, 26.0
    most = max((sum(part.value for part in parts) for _, parts, _ in rows), default=0.0) or 1.0
    room = WIDTH - label_width - 80
    kinds = list({part.kind: part.colour for _, parts, _ in rows for part in parts if part.value > 0}.items())
    per_row = 5
    head *= max(1, -(-len(kinds) // per_row))
    drawing = Drawing(head + (_ROW + 4) * len(rows) + 6, title=title)
    for number, (kind, colour) in enumerate(kinds):
        x, y = number % per_row * (WIDTH / per_row), 26.0 * (number // per_row)
        drawing.box(x, y + 2, 13, 13, f"f{colour} edged")
        drawing.text(x + 19, y + 13, shortened(kind, 20), "small")
    for row, (label, parts, text) in enumerate(rows):
        y, x = head + (_ROW + 4) * row, label_width
        drawing.text(label_width - 8, y + 15, shortened(label, 26), "end")
        for part in parts:
            if part.value <= 0:
                continue
            wide = part.value / most * room
            drawing.box(x, y + 2, wide, _ROW - 4, f"f{part.colour} edged", tip=part.tip)
            if wide > 7.0 * len(part.kind) + 8:
                drawing.text(x + wide / 2, y + 15, part.kind, "mid small onfill")
            x += wide
        drawing.text(x + 8, y + 15, text, "soft small")
    return drawing.render()


def network(pieces: Sequence[Piece]) -> str:
    """Pieces in running order from left to right: the trunk on the line, each seed above the place where it sits."""
    per_row, box_height, row_height = 7, 62.0, 150.0
    step = WIDTH / min(per_row, max(1, len(pieces)))
    box_width = min(step - 10, 150.0)
    rows = -(-len(pieces) // per_row)
    seeds = sum(piece.slot is not None for piece in pieces)
    drawing = Drawing(row_height * rows + 8, title=f"a network of {len(pieces)} pieces, {seeds} of them seeds")
    for row in range(rows):
        in_row = pieces[row * per_row : (row + 1) * per_row]
        middle = row_height * row + 112.0
        first, last = step / 2, (len(in_row) - 0.5) * step
        drawing.line(0 if row else first, middle, WIDTH if row + 1 < rows else last, middle, "axis")
        for column, piece in enumerate(in_row):
            x = (column + 0.5) * step
            if piece.slot is None:
                drawing.box(x - box_width / 2, middle - box_height / 2, box_width, box_height, "box", tip=piece.name)
                _lines(drawing, x, middle - box_height / 2, piece)
                continue
            top = middle - 106
            drawing.line(x, middle - 6, x, top + box_height, "s2", dashed=True)
            drawing.box(x - box_width / 2, top, box_width, box_height, "hollow s2", tip=f"{piece.name}, {piece.slot}")
            _lines(drawing, x, top, piece)
            drawing.dot(x, middle, "s2 f2", radius=6, tip=f"slot {piece.slot}: {piece.name}")
            drawing.text(x, middle + 22, f"slot {piece.slot}", "soft mid small")
    return drawing.render()


def _lines(drawing: Drawing, x: float, y: float, piece: Piece) -> None:
    drawing.text(x, y + 18, shortened(piece.name, 16), "mid")
    for row, line in enumerate(piece.lines[:2]):
        drawing.text(x, y + 35 + 15 * row, shortened(line, 18), "soft mid small")
