"""A pair of axes to draw on: grid, round ticks, labels; curves, bars, limits, and spans that are marked.

Classes of the page's style carry colours; curves are told apart by dashes and by their labels as well, so that a page
reads without colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporters.html.svg import WIDTH, Drawing, ticks

LEFT, RIGHT = 62.0, 14.0
_BOTTOM = 46.0
_LEGEND_ROW = 17.0
_GLYPH = 6.4  # width of a character of the legend, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What an axis shows from ``low`` to ``high``; ``text`` writes a tick. Logarithmic ones begin above 0."""

    low: float
    high: float
    label: str
    text: Callable[[float], str] = "{:g}".format
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values: powers of ten on a logarithmic axis, with halves of them where there are few."""
        if not self.logarithmic:
            return ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1,) if last - first > 3 else (1, 2, 5)
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        return [value for value in values if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named line through points in order. ``colour`` 0 to 5."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


class Plane:
    """A drawing with axes. ``rows`` of legend are kept free above it."""

    def __init__(self, x: Axis, y: Axis, *, title: str, height: float = 260.0, top: float = 14.0) -> None:
        self.drawing = Drawing(height, title=title)
        self.x, self.y, self._height, self._top = x, y, height, top
        for value in y.ticks():
            self.drawing.line(LEFT, self.to_y(value), WIDTH - RIGHT, self.to_y(value), "grid")
            self.drawing.text(LEFT - 6, self.to_y(value) + 4, y.text(value), "soft end")
        for value in x.ticks():
            self.drawing.line(self.to_x(value), top, self.to_x(value), height - _BOTTOM, "grid")
            if self.to_x(value) > WIDTH - 24:  # a label in the middle below it would leave the drawing
                self.drawing.text(WIDTH, height - _BOTTOM + 16, x.text(value), "soft end")
            else:
                self.drawing.text(self.to_x(value), height - _BOTTOM + 16, x.text(value), "soft mid")
        self.drawing.line(LEFT, height - _BOTTOM, WIDTH - RIGHT, height - _BOTTOM, "axis")
        self.drawing.text((WIDTH + LEFT) / 2, height - 8, x.label, "soft mid")
        self.drawing.text(LEFT, top - 2, y.label, "soft small")

    def to_x(self, value: float) -> float:
        """Across."""
        return LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT)

    def to_y(self, value: float) -> float:
        """Down."""
        return self._height - _BOTTOM - self.y.share(value) * (self._height - self._top - _BOTTOM)

    def curve(self, curve: Curve) -> None:
        """A line through its points."""
        places = [(self.to_x(x), self.to_y(y)) for x, y in curve.points]
        self.drawing.path(places, f"curve s{curve.colour}", dashed=curve.dashed, tip=curve.label)

    def bar(self, low: float, high: float, value: float, style: str, *, tip: str = "") -> None:
        """A bar from the axis up to ``value``, between two places on x."""
        left, right, upper = self.to_x(low), self.to_x(high), self.to_y(value)
        self.drawing.box(left, upper, right - left, self._height - _BOTTOM - upper, style, tip=tip)

    def limit(self, value: float, label: str, *, upright: bool = False) -> None:
        """A line not to be crossed; ``upright``: at a value of x."""
        if upright:
            x = self.to_x(value)
            self.drawing.line(x, self._top, x, self._height - _BOTTOM, "limit", dashed=True)
            flush = x > WIDTH * 0.7
            self.drawing.text(x - 6 if flush else x + 6, self._top + 12, label, "bad end" if flush else "bad")
            return
        y = self.to_y(value)
        self.drawing.line(LEFT, y, WIDTH - RIGHT, y, "limit", dashed=True)
        self.drawing.text(WIDTH - RIGHT, y - 4, label, "bad end")

    def span(self, low: float, high: float, label: str, *, row: int = 0) -> None:
        """A stretch of x that is marked, its label at the bottom in a row of its own, where curves seldom are."""
        left, right = self.to_x(low), max(self.to_x(high), self.to_x(low) + 1.5)
        self.drawing.box(left, self._top, right - left, self._height - _BOTTOM - self._top, "span", tip=label)
        flush = left > WIDTH * 0.6
        style = "small end" if flush else "small"
        self.drawing.text(right if flush else left + 3, self._height - _BOTTOM - 6 - 13 * row, label, style)

    def render(self) -> str:
        """The SVG."""
        return self.drawing.render()


def chart(x: Axis, y: Axis, curves: Sequence[Curve], *, title: str, height: float = 260.0) -> Plane:
    """Axes with curves and a legend above them, to which limits and spans can be added."""
    rows = legend_rows([curve.label for curve in curves]) if len(curves) > 1 else []
    top = 14.0 + _LEGEND_ROW * len(rows)
    plane = Plane(x, y, title=title, height=height + _LEGEND_ROW * len(rows), top=top)
    number = 0
    for row, labels in enumerate(rows):
        left = LEFT
        for label in labels:
            curve = curves[number]
            middle = _LEGEND_ROW * row + 7
            plane.drawing.path([(left, middle), (left + 22, middle)], f"curve s{curve.colour}", dashed=curve.dashed)
            plane.drawing.text(left + 28, middle + 4, label, "small")
            left += 46 + _GLYPH * len(label)
            number += 1
    for curve in curves:
        plane.curve(curve)
    return plane


def legend_rows(labels: Sequence[str]) -> list[list[str]]:
    """Labels in rows that fit the width."""
    rows: list[list[str]] = []
    used = WIDTH
    for label in labels:
        wide = 46 + _GLYPH * len(label)
        if used + wide > WIDTH - RIGHT - LEFT:
            rows.append([])
            used = 0.0
        rows[-1].append(label)
        used += wide
    return rows
