from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from exporters.html.page import Card, Figure, Section, Table, page
from tamiyo_runtime.cli.report import plots

TIMELINE = plots.Timeline(
    t_min=[0.0, 1.0, 2.0, 3.0],
    latency_ms=[0.2, float("nan"), 0.3, 0.2],
    deadline_ms=[0.5, 0.5, 0.25, 0.25],
    power_mw=[1.0, 2.0, 1.5, 1.0],
    power_budget_mw=[2.0, 2.0, 2.0, 2.0],
    bucket=[1.0, 0.5, 0.25, 0.4],
    on=[[True, True, False, False], [False, False, True, True]],
    slot_labels=["slot 0 adapter", "slot 1 squeeze-excite"],
    phases=[plots.Phase(0, 2, "rated speed"), plots.Phase(2, 3, "throttled")],
)


def draw_all() -> list[str]:
    return [
        plots.timeline(TIMELINE),
        plots.learning_curve([0, 100], [0.1, 0.9], [plots.Mark(50, "germinate 2")], [("grown", 0.9), ("ungrown", 0.8)]),
        plots.pareto([plots.Point("c10", 0.2, 0.1, 0.3, 0.95, chosen=True)], cost_label="latency, ms (analytic)"),
        plots.airtime([0, 1], [0, 5], 36, cap_label="legal cap"),
    ]


def test_every_plot_is_well_formed_svg_that_names_what_it_shows() -> None:
    timeline, curve, pareto, airtime = draw_all()
    for svg in (timeline, curve, pareto, airtime):
        assert ET.fromstring(svg).tag.endswith("svg")
    assert "latency (simulated)" in timeline
    assert "squeeze-excite" in timeline
    assert "germinate 2" in curve
    assert "c10" in pareto
    assert "legal cap" in airtime


def test_the_same_data_draw_the_same_bytes() -> None:
    assert draw_all() == draw_all()


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", 'a"b&c'])
def test_text_on_a_page_is_escaped_and_nothing_is_loaded_from_elsewhere(text: str) -> None:
    document = page(text, text, [Card(text, text, good=False)], [Section(text, text, [Table([text], [[text]])], text)])
    assert "<script" not in document
    assert "default-src 'none'" in document
    assert "http" not in document.replace("http-equiv", "")


def test_columns_of_figures_are_set_flush_right() -> None:
    document = page(
        "t", "l", [], [Section("s", parts=[Table(["name", "n"], [["a", "1.5"], ["b", ""]]), Figure("<svg/>", "c")])]
    )
    assert '<td class="n">1.5</td>' in document
    assert "<td>a</td>" in document
    assert "<figcaption>c</figcaption>" in document
