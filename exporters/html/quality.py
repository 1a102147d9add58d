"""Sections on what the compiled graphs are: quantisation, kernels, where operators run, the vendor's compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from exporters.figures import NOT_RECORDED, share_text
from exporters.html.charts import Bar, bars
from exporters.html.costs import full_chain
from exporters.html.page import Figure, Section, Table
from exporters.report import ExportReport, LayerReport
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.units import milliseconds, percent, size

_MOST_BARS = 48
_GOOD_DB = 30.0


def sections(manifest: Manifest, report: ExportReport | None) -> list[Section]:
    """All of them, in the order of the page."""
    return [
        _quantisation(manifest, report),
        _sensitivity(manifest, report),
        _kernels(manifest, report),
        _placement(report),
        _vendor(report),
    ]


def _int8(manifest: Manifest) -> bool:
    return any(variant.precision is Precision.INT8 for variant in manifest.variants)


def _quantisation(manifest: Manifest, report: ExportReport | None) -> Section:
    title = "What int8 does to the answers"
    if not _int8(manifest):
        return Section(title, "No form in this bundle is quantised.")
    if report is None:
        return Section(title, f"Comparison with the network it was made from: {NOT_RECORDED}.")
    rows = [
        [
            variant.id,
            item.configuration,
            share_text(item.accuracy),
            share_text(item.torch_accuracy),
            percent(item.agreement),
            "" if item.sqnr_db is None else f"{item.sqnr_db:.1f}",
        ]
        for variant in report.variants
        if variant.precision is Precision.INT8
        for item in variant.runnables
    ]
    parts: list[Table | Figure] = [
        Table(["variant", "configuration", "accuracy", report.reference, "same answer", "SQNR, dB"], rows)
    ]
    noisy = _noisy(report)
    note = ""
    if noisy:
        worst = sorted(noisy, key=lambda pair: pair[1])[:_MOST_BARS]
        items = [
            Bar(
                label=f"{layer.module or layer.graph} {layer.operator.lower()}",
                value=found,
                text=f"{found:.1f} dB",
                colour=0 if found >= _GOOD_DB else 1,
                tip=f"{layer.variant} {layer.graph}[{layer.index}] {layer.operator}: {found:.1f} dB",
            )
            for layer, found in noisy
            if (layer, found) in worst
        ]
        few = f", the {len(items)} noisiest of {len(noisy)}" if len(noisy) > len(items) else ""
        parts.append(
            Figure(
                bars(items, title="signal to quantisation noise of each operator's answer"),
                f"Signal to quantisation noise of each operator's answer, measured, dB{few}; orange: below 30 dB.",
            )
        )
    else:
        note = f"Error layer by layer: {NOT_RECORDED}."
    text = f"Measured on the test set. SQNR: power of the logits of {report.reference} over that of the difference."
    return Section(title, text, parts, note)


def _noisy(report: ExportReport) -> list[tuple[LayerReport, float]]:
    """Operators whose answers were compared, those that run with all seeds where layers of more are known."""
    compared = replace(report, layers=tuple(layer for layer in report.layers if layer.sqnr_db is not None))
    layers = full_chain(compared)[0] if compared.layers else []
    return [(layer, layer.sqnr_db) for layer in layers if layer.sqnr_db is not None]


def _sensitivity(manifest: Manifest, report: ExportReport | None) -> Section:
    title = "Which part suffers from int8"
    if not _int8(manifest):
        return Section(title, "No form in this bundle is quantised.")
    if report is None or not report.sensitivity:
        return Section(title, f"Sensitivity of the parts: {NOT_RECORDED}.")
    rows = [
        [
            item.part,
            percent(item.accuracy),
            f"{100 * item.accuracy_lost:.1f}",
            "" if item.sqnr_db is None else f"{item.sqnr_db:.1f}",
            "float" if item.kept_float else "int8",
        ]
        for item in report.sensitivity
    ]
    text = "One part at a time in int8, the others in float; measured."
    return Section(title, text, (Table(["part", "accuracy", "points lost", "SQNR, dB", "exported as"], rows),))


def _kernels(manifest: Manifest, report: ExportReport | None) -> Section:
    title = "The same graphs on other kernels"
    if not _int8(manifest):
        return Section(title, "No form in this bundle is quantised.")
    if report is None or not report.kernels:
        return Section(title, f"Comparison of kernels: {NOT_RECORDED}.")
    rows = [
        [
            item.variant,
            item.configuration,
            item.kernels,
            str(item.samples),
            _steps(item.worst_lsb),
            _steps(item.operator_lsb),
            "" if item.flipped is None else percent(item.flipped),
            item.problem or "",
        ]
        for item in report.kernels
    ]
    text = (
        "Largest difference from the kernels that the accuracy was measured on, in steps of int8, measured: of a logit "
        "with the chain run from end to end, and of any one operator's answer when it is fed alike."
    )
    head = ["variant", "configuration", "kernels", "samples", "logits", "one operator", "answers changed", "remark"]
    return Section(title, text, (Table(head, rows),))


def _steps(found: int | None) -> str:
    return "" if found is None else str(found)


def _placement(report: ExportReport | None) -> Section:
    title = "Where operators run"
    if report is None or not report.placement:
        return Section(
            title, "All on the processor: no accelerator's rules apply to this target, or none were recorded."
        )
    on = sum(item.on_accelerator for item in report.placement)
    rows = [
        [
            item.graph,
            str(item.index),
            item.operator,
            "accelerator" if item.on_accelerator else "host",
            item.reason or "",
        ]
        for item in report.placement
    ]
    left = [row for row in rows if row[3] == "host"]
    head = ["graph", "#", "operator", "runs on", "why"]
    tables = [Table(head, left)] if left else []
    tables.append(Table(head, rows, fold=f"all {len(rows)} operators"))
    return Section(title, f"{on} of {len(rows)} operators run on the accelerator.", tables)


def _vendor(report: ExportReport | None) -> Section:
    title = "The vendor's compiler"
    vendor = report.vendor if report else None
    if vendor is None:
        return Section(title, "None is needed for this target, or none was recorded.")
    rows = [["program", f"{vendor.program} {vendor.version or ''}".strip()], ["command", vendor.command]]
    rows += [["ran", "yes" if vendor.ran else "no"]]
    rows += [["mapped", _counts(vendor.mapped)], ["left to the host", _counts(vendor.unmapped)]]
    parts = [Table(["", ""], rows)]
    if vendor.costs:
        costs = [
            [
                graph,
                f"{cost.cycles:,}",
                f"{cost.clock_mhz:g} MHz",
                milliseconds(1e-3 * cost.latency_us),
                size(cost.sram_bytes),
                size(cost.stored_bytes),
            ]
            for graph, cost in sorted(vendor.costs.items())
        ]
        parts.append(Table(["graph", "cycles", "clock", "latency", "working memory", "stored"], costs))
    note = (
        "Cycles are the compiler's own estimate of the accelerator's part, not a measurement." if vendor.costs else ""
    )
    return Section(title, "", parts, note)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none named"
