"""The demo's report: from what training, export, the boards and the collector left behind to one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.ledger import DeviceLedger
from exporters.html.page import Card, Figure, Section, Table, page
from tamiyo_runtime.cli.demo.scenario import Scenario
from tamiyo_runtime.cli.field_terms import FieldResult
from tamiyo_runtime.cli.report import plots
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Variant
from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent, size
from tamiyo_runtime.spool import boot_name
from tamiyo_runtime.summary import Trace

_ROLLING = 30  # inferences in the rolling mean of power


@dataclass(frozen=True, slots=True)
class Growth:
    """What training left: the learning curve, what was grafted when, and the test accuracies side by side."""

    steps: Sequence[float]
    accuracy: Sequence[float]
    marks: Sequence[plots.Mark]
    results: Sequence[tuple[str, float, int, int]]  # name, test accuracy, parameters, MACs
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle and the steps of its export: name, status, message."""

    manifest: Manifest
    bytes: int
    steps: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class BoardRun:
    """A simulated board's run. ``airtime``: (minutes, seconds on air in the hour before)."""

    device: str
    manifest: Manifest
    variant: Variant
    scenario: Scenario
    result: FieldResult
    airtime: tuple[Sequence[float], Sequence[float]]
    airtime_cap_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Story:
    """Everything the report tells."""

    growth: Growth
    exported: Sequence[Exported]
    runs: Sequence[BoardRun]
    ledger: Sequence[DeviceLedger]
    broker: str
    reasons: Mapping[str, int]
    elapsed_s: float


def render(story: Story) -> str:
    """The page."""
    grown = story.growth.results[0]
    sent, stored = sum(e.sent for e in story.ledger), sum(e.stored for e in story.ledger)
    lost = sum(sum(e.lost.values()) for e in story.ledger)
    misses = sum(run.result.summary.deadline_misses for run in story.runs)
    first = story.runs[0].result
    cards = [
        Card(percent(grown[1]), "test accuracy of the grown network (measured)", grown[1] >= 0.95),
        Card(
            f"{stored + lost} of {sent}", "records accounted for: stored or lost with a reason", stored + lost == sent
        ),
        Card(str(misses), "deadlines missed by admitted inferences (simulated boards)", misses == 0),
        Card(str(first.summary.decisions), "recorded changes of what runs, on the first board"),
        Card(f"{story.elapsed_s:.0f} s", "for all of this on this machine (measured)"),
    ]
    sections = [
        _growth(story.growth),
        *(_exported(item) for item in story.exported),
        *(section for run in story.runs for section in _run(run)),
        _ledger(story),
    ]
    lead = (
        "A small network was grown on 1,797 real handwritten digits by a learned policy, exported for two targets, "
        "run on two simulated boards over simulated LoRa links, and its telemetry collected over a real MQTT broker. "
        "Accuracies are measured; latencies, energies and airtime are simulated or estimated, and say so."
    )
    return page("tamiyo demo", lead, cards, sections)


def _growth(growth: Growth) -> Section:
    curve = plots.learning_curve(
        growth.steps, growth.accuracy, growth.marks, [(name, accuracy) for name, accuracy, *_ in growth.results]
    )
    rows = [[name, percent(accuracy), f"{params:,}", f"{macs:,}"] for name, accuracy, params, macs in growth.results]
    return Section(
        "Growing",
        "A policy cloned from heuristic and random episodes decided alone where, when and what to graft.",
        (
            Figure(curve, "Validation accuracy while growing; dashed: test accuracy at the end (measured)."),
            Table(["network", "test accuracy", "parameters", "MACs"], rows),
            Table(["", ""], [list(fact) for fact in growth.facts]),
        ),
    )


def _exported(item: Exported) -> Section:
    manifest, variant = item.manifest, item.manifest.variants[0]
    front = _front(variant)
    points = [
        plots.Point(
            label=runnable.configuration,
            cost=runnable.cost.latency_ms.value,
            low=runnable.cost.latency_ms.low,
            high=runnable.cost.latency_ms.high,
            accuracy=runnable.accuracy or 0.0,
            chosen=runnable.configuration in front,
        )
        for runnable in variant.runnables
    ]
    cost_label = f"latency on {manifest.profile.id}, ms (analytic estimate, bars: stated interval)"
    table = Table(
        ["configuration", "accuracy", "latency", "energy", "MACs", "graphs"],
        [
            [
                runnable.configuration,
                percent(runnable.accuracy or 0.0),
                milliseconds(runnable.cost.latency_ms.value),
                microjoules(runnable.cost.energy_uj.value),
                f"{runnable.cost.macs:,}",
                str(len(runnable.chain)),
            ]
            for runnable in variant.runnables
            if runnable.configuration in front
        ],
    )
    return Section(
        f"Exported for {manifest.target}",
        f"{size(item.bytes)}, signed. Preferred variant {variant.id}: {len(variant.runnables)} configurations, each "
        "measured on the test set by running its graphs.",
        (
            Figure(
                plots.pareto(points, cost_label=cost_label),
                "Accuracy (measured) against cost of every configuration; filled: the Pareto front, in the table.",
            ),
            table,
            Table(["step", "", "outcome"], [list(step) for step in item.steps]),
        ),
    )


def _run(run: BoardRun) -> list[Section]:
    summary, trace = run.result.summary, run.result.summary.trace
    if trace is None:
        return []
    timeline = plots.timeline(_timeline(run, trace))
    rows = [[name, str(count), percent(count / summary.samples)] for name, count in summary.counts.items() if count]
    rows += [
        [f"skipped: {reason}", str(count), percent(count / summary.samples)] for reason, count in summary.skips.items()
    ]
    per_phase = _per_phase(run.scenario, trace)
    counters = run.result.counters
    facts = [
        ["accuracy in the field", percent(summary.accuracy or 0.0)],
        ["deadlines missed", str(summary.deadline_misses)],
        ["energy of inferences (simulated)", microjoules(summary.energy_uj)],
        ["simulated time, real time", f"{summary.duration_s / 60:.0f} min in {run.wall_s:.1f} s"],
    ]
    if counters is not None:
        facts += [
            [
                "frames sent",
                f"{counters.transmissions} of {size(counters.bytes_sent / max(1, counters.transmissions))} each",
            ],
            ["radio energy (simulated)", microjoules(counters.radio_energy_uj)],
        ]
    minutes, used_s = run.airtime
    return [
        Section(
            f"{run.device}: {summary.board}",
            f"{summary.variant} by {summary.interpreter}; the policy, run by {summary.policy}, proposes seeds, "
            "the governor holds deadline and energy.",
            (
                Figure(timeline, "Every point is one image; the answers are those of the real interpreter."),
                Table(["phase", "images", "accuracy", "mean latency", "mean energy", "mostly runs"], per_phase),
                Table(["ran", "images", "share"], rows),
                Table(["", ""], facts),
            ),
        ),
        Section(
            f"{run.device}: airtime",
            f"Link: {run.result.link}. Raw samples would not fit, so the device sends windows, decisions and events.",
            (
                Figure(
                    plots.airtime(minutes, used_s, run.airtime_cap_s, cap_label="legal cap, 1 % of an hour"),
                    "Time on air in the hour before, by the exact time-on-air formula.",
                ),
            ),
        ),
    ]


def _timeline(run: BoardRun, trace: Trace) -> plots.Timeline:
    gates = {c.id: c.gates for c in run.manifest.configurations}
    seeds = [segment for segment in run.manifest.plan.segments if segment.slot is not None]
    on = np.zeros((len(seeds), len(trace.t_s)), dtype=bool)
    for index, name in enumerate(trace.configurations):
        for row, seed in enumerate(seeds):
            on[row, trace.option == index] = gates[name][seed.slot or 0]
    minutes = trace.t_s / 60
    ends = [stretch.start_s / 60 for stretch in run.scenario.stretches[1:]] + [float(minutes[-1])]
    phases = [
        plots.Phase(stretch.start_s / 60, end, stretch.label)
        for stretch, end in zip(run.scenario.stretches, ends, strict=True)
    ]
    period_ms = run.scenario.plan.period_s * 1e3
    kernel = np.ones(_ROLLING) / _ROLLING
    power_mw = np.convolve(np.pad(trace.energy_uj, (_ROLLING - 1, 0), mode="edge"), kernel, mode="valid") / period_ms
    budget_mw = np.full(len(minutes), _power(run.scenario.plan.budget))
    for start_s, budget in run.scenario.plan.schedule:
        budget_mw[trace.t_s >= start_s] = _power(budget)
    return plots.Timeline(
        t_min=minutes.tolist(),
        latency_ms=trace.latency_ms.tolist(),
        deadline_ms=trace.deadline_ms.tolist(),
        power_mw=power_mw.tolist(),
        power_budget_mw=budget_mw.tolist(),
        bucket=trace.bucket.tolist(),
        on=on.tolist(),
        slot_labels=[f"slot {seed.slot} {seed.blueprint}" for seed in seeds],
        phases=phases,
    )


def _power(budget: Any) -> float:
    return budget.power_mw if budget is not None and budget.power_mw is not None else float("nan")


def _per_phase(scenario: Scenario, trace: Trace) -> list[list[str]]:
    rows = []
    starts = [stretch.start_s for stretch in scenario.stretches]
    for stretch, end_s in zip(scenario.stretches, [*starts[1:], float("inf")], strict=True):
        inside = (trace.t_s >= stretch.start_s) & (trace.t_s < end_s)
        ran = inside & (trace.option >= 0)
        if not ran.any():
            rows.append([stretch.label, str(int(inside.sum())), "", "", "", "nothing"])
            continue
        most = int(np.bincount(trace.option[ran]).argmax())
        share = float((trace.option[ran] == most).mean())
        rows.append(
            [
                stretch.label,
                str(int(inside.sum())),
                percent(_mean(trace.correct[ran] == 1)),
                milliseconds(_mean(trace.latency_ms[ran])),
                microjoules(_mean(trace.energy_uj[ran])),
                f"{trace.configurations[most]} ({percent(share, digits=0)})",
            ]
        )
    return rows


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean())


def _front(variant: Variant) -> set[str]:
    """Configurations that no cheaper one beats; runnables come cheapest first."""
    best, front = -1.0, set()
    for runnable in variant.runnables:
        if (runnable.accuracy or 0.0) > best:
            best = runnable.accuracy or 0.0
            front.add(runnable.configuration)
    return front


def _ledger(story: Story) -> Section:
    rows = [
        [
            e.device,
            boot_name(e.boot),
            str(e.sent),
            str(e.stored),
            str(sum(e.lost.values())),
            "yes" if e.balanced else "no",
        ]
        for e in story.ledger
    ]
    reasons = [[reason, str(count)] for reason, count in story.reasons.items()]
    return Section(
        "Collected",
        "sent = stored + lost with reasons. A record leaves a device's spool only when the collector has committed it.",
        (
            Table(["device", "boot", "sent", "stored", "lost", "balanced"], rows),
            Table(["reasons in the collected decisions", "records"], reasons),
        ),
        f"Broker: {story.broker}.",
    )
