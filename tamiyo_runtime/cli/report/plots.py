"""The plots of the reports, as SVG text. Each takes plain arrays, so that nothing here knows where data come from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tamiyo_runtime.contracts.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID = "#1c2430", "#5b6675", "#e6eaee"
BLUE, ORANGE, GREEN, RED, VIOLET = "#2563a8", "#d9822b", "#1f7a4d", "#b3372f", "#7a4fa3"
SLOT_COLOURS = (BLUE, ORANGE, GREEN, VIOLET, RED, SOFT)


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled point on the x axis: a graft, the start of a phase."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Phase:
    """A shaded stretch of the x axis."""

    start: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration: cost with its interval, accuracy, and whether it lies on the Pareto front."""

    label: str
    cost: float
    low: float
    high: float
    accuracy: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """What a device did, one entry an inference (NaN where it was skipped); ``on`` is one boolean row a slot."""

    t_min: Sequence[float]
    latency_ms: Sequence[float]
    deadline_ms: Sequence[float]
    power_mw: Sequence[float]
    power_budget_mw: Sequence[float]
    bucket: Sequence[float]
    on: Sequence[Sequence[bool]]
    slot_labels: Sequence[str]
    phases: Sequence[Phase]


def learning_curve(
    steps: Sequence[float], accuracy: Sequence[float], marks: Sequence[Mark], levels: Sequence[tuple[str, float]]
) -> str:
    """Validation accuracy over training steps, growth events as vertical marks, final test figures as levels."""
    figure, (axes,) = _figure(4.0, 1)
    axes.plot(steps, [100 * a for a in accuracy], color=BLUE, marker="o", markersize=3, label="validation")
    for (label, level), colour in zip(levels, (GREEN, ORANGE, VIOLET), strict=False):
        axes.axhline(100 * level, color=colour, linewidth=1.2, linestyle="--", label=f"{label}: {100 * level:.1f} %")
    low = min([100 * a for a in accuracy[len(accuracy) // 4 :]] + [100 * level for _, level in levels], default=0)
    axes.set_ylim(max(0.0, low - 8), 101)
    for index, mark in enumerate(marks):
        axes.axvline(mark.x, color=SOFT, linewidth=0.7, linestyle=":")
        height = 0.03 + 0.075 * (index % 5)
        axes.text(mark.x, height, f" {mark.label}", transform=axes.get_xaxis_transform(), fontsize=7.5, color=SOFT)
    axes.set_xlabel("training step")
    axes.set_ylabel("accuracy, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=4, fontsize=8.5, frameon=False)
    return _svg(figure)


def pareto(points: Sequence[Point], *, cost_label: str) -> str:
    """Accuracy against cost of every configuration, chosen ones filled, cost intervals as bars."""
    figure, (axes,) = _figure(3.4, 1)
    for point in points:
        colour = GREEN if point.chosen else SOFT
        errors = [[point.cost - point.low], [point.high - point.cost]]
        axes.errorbar(point.cost, 100 * point.accuracy, xerr=errors, color=colour, alpha=0.25, linewidth=1)
        face = colour if point.chosen else "white"
        axes.plot(point.cost, 100 * point.accuracy, "o", color=colour, markerfacecolor=face, markersize=6)
        if point.chosen:
            where = (point.cost, 100 * point.accuracy)
            axes.annotate(point.label, where, (4, -11), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xlabel(cost_label)
    axes.set_ylabel("accuracy, %")
    return _svg(figure)


def timeline(data: Timeline) -> str:
    """Latency against deadline, power against budget, the energy bucket, and which seeds are on, over time."""
    figure, (latency, power, bucket, gates) = _figure(8.2, 4, heights=(2.2, 2.0, 1.2, 0.34 * max(2, len(data.on))))
    latency.plot(data.t_min, data.latency_ms, ".", markersize=2, color=BLUE, label="latency (simulated)")
    latency.step(data.t_min, data.deadline_ms, where="post", color=RED, linewidth=1.3, label="deadline")
    latency.set_ylabel("ms")
    power.plot(data.t_min, data.power_mw, color=ORANGE, linewidth=1.2, label="power drawn, rolling mean (simulated)")
    power.step(data.t_min, data.power_budget_mw, where="post", color=RED, linewidth=1.3, label="power budget")
    power.set_ylabel("mW")
    bucket.fill_between(data.t_min, [100 * b for b in data.bucket], color=GREEN, alpha=0.35, linewidth=0)
    bucket.set_ylim(0, 105)
    bucket.set_ylabel("energy\nbucket, %")
    for row, (on, label) in enumerate(zip(data.on, data.slot_labels, strict=True)):
        y = len(data.on) - 1 - row
        colour = SLOT_COLOURS[row % len(SLOT_COLOURS)]
        gates.fill_between(data.t_min, y + 0.12, y + 0.88, where=list(on), step="post", color=colour, linewidth=0)
        gates.text(-0.005, y + 0.5, label, transform=gates.get_yaxis_transform(), ha="right", va="center", fontsize=8)
    gates.set_ylim(0, max(1, len(data.on)))
    gates.set_yticks([])
    gates.set_xlabel("minutes of simulated time (bars: seed is on)")
    for axes in (latency, power, bucket, gates):
        for index, phase in enumerate(data.phases):
            if index % 2:
                axes.axvspan(phase.start, phase.end, color="#f1f3f6", zorder=0)
        axes.set_xlim(data.t_min[0], data.t_min[-1])
    for phase in data.phases:
        middle = (phase.start + phase.end) / 2
        latency.text(
            middle, 1.02, phase.label, transform=latency.get_xaxis_transform(), ha="center", fontsize=8.5, color=INK
        )
    for axes in (latency, power):
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")
    return _svg(figure)


def airtime(t_min: Sequence[float], used_s: Sequence[float], cap_s: float, *, cap_label: str) -> str:
    """Airtime used within the last hour against the legal cap."""
    figure, (axes,) = _figure(2.4, 1)
    axes.step(t_min, used_s, where="post", color=VIOLET, label="airtime in the last hour (simulated)")
    axes.axhline(cap_s, color=RED, linewidth=1.2, label=cap_label)
    axes.set_ylim(0, 1.15 * max([cap_s, *used_s]))
    axes.set_xlabel("minutes of simulated time")
    axes.set_ylabel("s")
    axes.legend(loc="center left", fontsize=8.5, frameon=False)
    return _svg(figure)


def delays(at_s: Sequence[float], delay_ms: Sequence[float], outages: Sequence[tuple[float, float]], label: str) -> str:
    """How late what was offered to a link at ``at_s`` arrived, outages shaded."""
    figure, (axes,) = _figure(3.4, 1)
    axes.plot(at_s, delay_ms, ".", markersize=4, color=BLUE, label=label)
    for index, (begins_s, ends_s) in enumerate(outages):
        axes.axvspan(begins_s, ends_s, color=RED, alpha=0.18, linewidth=0, label=None if index else "outage")
    if any(delay > 0 for delay in delay_ms):
        axes.set_yscale("log")
        from matplotlib.ticker import LogLocator

        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")  # 500, not 5 x 10^2
        axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("offered, s of the link's time (simulated)")
    axes.set_ylabel("delay, ms")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8.5, frameon=False)
    return _svg(figure)


def _figure(height: float, rows: int, *, heights: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure as MplFigure
    except ImportError as exc:
        raise MissingExtraError("matplotlib", "report") from exc
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: small files, selectable, the reader's font
    mpl.rcParams["svg.hashsalt"] = "tamiyo"  # the same data give the same bytes
    mpl.rcParams["font.family"] = "sans-serif"
    figure = MplFigure(
        figsize=(9.6, height), layout="tight"
    )  # constrained layout solves by memory address, not bit for bit
    grid = figure.subplots(rows, 1, squeeze=False, sharex=rows > 1, height_ratios=list(heights))
    axes = [grid[row][0] for row in range(rows)]
    for one in axes:
        one.grid(color=GRID, linewidth=0.8)
        one.set_axisbelow(True)
        one.tick_params(colors=SOFT, labelsize=8.5)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            one.spines[side].set_color(GRID)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
