"""Axes and stacked bars: shapes lie where their figures say, and nothing is told by colour alone."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from exporters.html.charts import Part, stacked
from exporters.html.plane import LEFT, RIGHT, Axis, Curve, Plane, chart, legend_rows
from exporters.html.svg import WIDTH


def shapes(svg: str, tag: str) -> list[dict[str, str]]:
    return [dict(shape.attrib) for shape in ET.fromstring(svg).iter() if shape.tag.rpartition("}")[2] == tag]


def points(shape: dict[str, str]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in shape["points"].split())]


def test_a_curve_goes_through_its_points_from_corner_to_corner() -> None:
    axes = Axis(low=0.0, high=10.0, label="x"), Axis(low=0.0, high=1.0, label="y")
    svg = chart(*axes, [Curve(label="one", points=[(0.0, 0.0), (5.0, 0.5), (10.0, 1.0)])], title="t").render()
    (line,) = shapes(svg, "polyline")
    (left, low), (middle, half), (right, high) = points(line)
    assert (left, right) == (LEFT, WIDTH - RIGHT)
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert half == pytest.approx((low + high) / 2, abs=0.1)
    assert high < low


def test_a_logarithmic_axis_keeps_decades_apart_evenly_and_marks_them() -> None:
    axis = Axis(low=0.1, high=1000.0, label="x", logarithmic=True)
    assert [axis.share(value) for value in (0.1, 1.0, 10.0, 1000.0)] == pytest.approx([0.0, 0.25, 0.5, 1.0])
    assert axis.ticks() == pytest.approx([0.1, 1.0, 10.0, 100.0, 1000.0])
    assert Axis(low=3.0, high=40.0, label="x", logarithmic=True).ticks() == pytest.approx([5.0, 10.0, 20.0])


def test_limits_are_dashed_and_named_along_and_upright() -> None:
    plane = Plane(Axis(low=0.0, high=10.0, label="x"), Axis(low=0.0, high=10.0, label="y"), title="t")
    plane.limit(5.0, "as much")
    plane.limit(9.0, "as far", upright=True)
    svg = plane.render()
    along, upright = [line for line in shapes(svg, "line") if line["class"] == "limit"]
    assert along["y1"] == along["y2"]
    assert upright["x1"] == upright["x2"] == f"{plane.to_x(9.0):.1f}".removesuffix(".0")
    assert all("stroke-dasharray" in line for line in (along, upright))
    assert ">as much<" in svg
    assert ">as far<" in svg


def test_a_legend_of_many_names_takes_as_many_rows_as_it_needs() -> None:
    labels = [f"a group with a long name {number}" for number in range(9)]
    rows = legend_rows(labels)
    assert [label for row in rows for label in row] == labels
    assert 1 < len(rows) < 9
    curves = [Curve(label=label, points=[(0.0, 0.0), (1.0, 1.0)]) for label in labels]
    svg = chart(Axis(low=0.0, high=1.0, label="x"), Axis(low=0.0, high=1.0, label="y"), curves, title="t").render()
    assert all(f">{label}<" in svg for label in labels)


def test_parts_of_a_bar_are_as_wide_as_their_values_and_side_by_side() -> None:
    parts = [
        Part(kind="lost", value=0.3, colour=1, tip="a"),
        Part(kind="none", value=0.0, colour=2, tip="b"),
        Part(kind="late", value=0.1, colour=3, tip="c"),
    ]
    svg = stacked([("one", parts, "40 %")], title="t")
    first, second = [box for box in shapes(svg, "rect") if float(box["width"]) > 13]
    assert float(first["width"]) == pytest.approx(3 * float(second["width"]), rel=0.01)
    assert float(second["x"]) == pytest.approx(float(first["x"]) + float(first["width"]), abs=0.2)
    assert ">none<" not in svg
    assert ">40 %<" in svg
    assert svg.count(">lost<") == 2  # in the legend and on the part
