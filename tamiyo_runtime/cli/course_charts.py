"""The drawings of a course's report: gates against their bounds, the way it went, learning curves, lives of seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporters.html.plane import Axis, Curve, Plane
from exporters.html.svg import WIDTH, Drawing, bounds, shortened

_MOST = 1.5
"""Share of the allowance from which on a figure is drawn at the edge."""
LIFE_STYLES: Mapping[str, str] = {
    "germinated": "f5 d1",
    "training": "f1",
    "blending": "f1 d2",
    "shadowing": "f3",
    "probationary": "f0",
    "fossilised": "f2",
    "culled": "f4",
    "embargoed": "f4 d1",
}
"""Classes of the page for each state of a seed's life that is shown; a dormant slot is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """A condition: what was measured and the end of its interval that decides, as shares of what the gate allows.

    None where nothing was measured. ``text``: the figures in words.
    """

    name: str
    used: float | None
    decides: float | None
    passed: bool
    text: str


def gates(groups: Sequence[tuple[str, Sequence[GateLine]]]) -> str:
    """Every condition of every stage on one scale: 0 is as good as can be, 1 is the bound. Left of the line is passed.

    The dot is what was measured, the bar reaches to the end of the interval that decides.
    """
    label, row, head = 250.0, 19.0, 22.0
    room = WIDTH - label - 190
    drawing = Drawing(16 + sum(head + row * len(lines) for _, lines in groups), title="gates against their bounds")

    def at(share: float) -> float:
        return label + min(max(share, 0.0), _MOST) / _MOST * room

    y = 12.0
    for title, lines in groups:
        drawing.text(0, y + 12, title, "")
        y += head
        for line in lines:
            middle, colour = y + row / 2, 2 if line.passed else 4
            drawing.text(label - 10, middle + 4, shortened(line.name, 36), "soft small end")
            drawing.line(at(0), middle, at(_MOST), middle, "grid")
            if line.used is None or line.decides is None:
                drawing.text(at(0) + 6, middle + 4, "not measured", "bad small")
            else:
                left, right = sorted((at(line.used), at(line.decides)))
                drawing.box(left, middle - 3, right - left, 6, f"f{colour} faint", tip=line.text)
                drawing.dot(at(line.used), middle, f"f{colour} edged", tip=line.text)
            drawing.text(WIDTH - 180, middle + 4, shortened(line.text, 34), "small" if line.passed else "small bad")
            y += row
    drawing.line(at(1), 6, at(1), y + 2, "limit", dashed=True)
    drawing.text(at(1), 8, "the bound", "small bad mid")
    return drawing.render()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A round: at which stage (number from 0), passed or not, and in words. ``rehearsed``: stages examined beside it,
    with whether each lost more than it may."""

    stage: int
    passed: bool
    tip: str
    rehearsed: Mapping[int, bool]


def way(stages: Sequence[str], stops: Sequence[Stop]) -> str:
    """Stages from top to bottom, rounds from left to right: full dots are examinations, small rings rehearsals."""
    label, row = 230.0, 22.0
    step = (WIDTH - label - 20) / max(1, len(stops))
    drawing = Drawing(row * len(stages) + 34, title="the way through the stages")

    def at(number: int, stage: int) -> tuple[float, float]:
        return label + (number + 0.5) * step, 14 + row * stage

    for number, name in enumerate(stages):
        y = at(0, number)[1]
        drawing.text(label - 10, y + 4, shortened(name, 36), "small end")
        drawing.line(label, y, WIDTH, y, "grid")
    drawing.path([at(number, stop.stage) for number, stop in enumerate(stops)], "curve s5")
    for number, stop in enumerate(stops):
        for stage, lost in stop.rehearsed.items():
            told = f"round {number + 1}, rehearsal: {'lost too much' if lost else 'held'}"
            drawing.dot(*at(number, stage), f"hollow {'s4' if lost else 's2'}", radius=3.2, tip=told)
        drawing.dot(*at(number, stop.stage), f"f{2 if stop.passed else 4} edged", radius=6, tip=stop.tip)
        every = -(-len(stops) // 24)
        if number % every == 0:
            drawing.text(at(number, 0)[0], row * len(stages) + 16, str(number + 1), "soft small mid")
    drawing.text(label - 10, row * len(stages) + 16, "round", "soft small end")
    return drawing.render()


def learning(curves: Sequence[Sequence[tuple[float, float]]], *, bound: float | None) -> str:
    """Validation accuracy, %, over training steps: a thin line a network, the median over them; ``bound`` in 0..1."""
    shown = [[(step, 100 * accuracy) for step, accuracy in curve] for curve in curves]
    heights = [y for curve in shown for _, y in curve] + ([] if bound is None else [100 * bound])
    low, high = bounds(heights or [0.0, 100.0])
    plane = Plane(
        Axis(low=0.0, high=max((curve[-1][0] for curve in shown if curve), default=1.0), label="training step"),
        Axis(low=max(low, 0.0), high=min(high, 101.0), label="validation accuracy, %"),
        title="learning curves",
        height=250.0,
    )
    for number, curve in enumerate(shown):
        places = [(plane.to_x(x), plane.to_y(y)) for x, y in curve]
        plane.drawing.path(places, "curve s0 faint", tip=f"network {number + 1}")
    same = zip(*shown, strict=False)
    middle = [(points[0][0], sorted(y for _, y in points)[len(points) // 2]) for points in same]
    if len(middle) > 1:
        plane.curve(Curve(label="median network", points=middle, colour=0))
    if bound is not None:
        plane.limit(100 * bound, f"bound of the test set: {100 * bound:g} %")
    return plane.render()


def lives(rows: Sequence[tuple[str, Sequence[tuple[float, float, str]]]], *, end: float) -> str:
    """The life of the seed in each slot over training steps: ``rows`` are a label and stretches (start, end, state)."""
    label, row, head = 130.0, 17.0, 24.0
    room = WIDTH - label - 10
    drawing = Drawing(head + row * len(rows) + 22, title="lives of the seeds")
    shown = [state for state in LIFE_STYLES if any(state == each for _, spans in rows for _, _, each in spans)]
    for number, state in enumerate(shown):
        x = number * WIDTH / max(len(shown), 6)
        drawing.box(x, 2, 13, 13, LIFE_STYLES[state])
        drawing.text(x + 18, 13, state, "small")
    for number, (name, stretches) in enumerate(rows):
        y = head + row * number
        drawing.text(label - 8, y + 12, shortened(name, 20), "soft small end")
        drawing.line(label, y + row / 2, label + room, y + row / 2, "grid")
        for start, stop, state in stretches:
            if state in LIFE_STYLES:
                tip = f"{name}: {state}, steps {start:g} to {stop:g}"
                left, wide = label + start / end * room, (stop - start) / end * room
                drawing.box(left, y + 2, wide, row - 4, LIFE_STYLES[state], tip=tip)
    bottom = head + row * len(rows) + 14
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        flush = "soft small end" if share == 1 else "soft small mid"
        drawing.text(label + share * room, bottom, f"{math.floor(share * end)}", flush)
    drawing.text(label - 8, bottom, "training step", "soft small end")
    return drawing.render()
