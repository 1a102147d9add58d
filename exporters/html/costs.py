"""Sections on cost: accuracy against latency and energy, layer by layer, and how well the cost model is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from exporters import pareto
from exporters.figures import NOT_RECORDED, accuracy_text, energy_text, latency_text, wilson
from exporters.html.charts import Bar, Point, bars, scatter
from exporters.html.page import Figure, Section, Table
from exporters.report import ExportReport, LayerReport, PartReport
from tamiyo_runtime.contracts.cost import Cost, Estimate
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Runnable, Variant
from tamiyo_runtime.contracts.units import factor, microjoules, milliseconds, percent, size

_MOST_BARS = 48


def sections(manifest: Manifest, report: ExportReport | None) -> list[Section]:
    """All of them, in the order of the page."""
    samples = report.test_samples if report else 0
    chosen = _chosen(report)
    return [
        _configurations(manifest.variants[0], samples, chosen.get(manifest.variants[0].id)),
        _candidates(report),
        *_others(manifest, samples, chosen),
        _layers(report),
        _known(manifest, report),
    ]


def front(runnables: Sequence[Runnable], cost: Callable[[Cost], Estimate]) -> frozenset[str]:
    """Configurations that no cheaper one equals in measured accuracy."""
    accuracies = {item.configuration: item.accuracy for item in runnables if item.accuracy is not None}
    costs = {item.configuration: cost(item.cost).value for item in runnables if item.configuration in accuracies}
    return frozenset(pareto.front(costs, accuracies))


def _chosen(report: ExportReport | None) -> dict[str, str]:
    """The configuration that runs under the budget while nothing slows the board, by variant."""
    variants = report.variants if report else ()
    return {variant.id: item.configuration for variant in variants for item in variant.runnables if item.chosen}


def _configurations(variant: Variant, samples: int, chosen: str | None) -> Section:
    measured = [item for item in variant.runnables if item.accuracy is not None]
    title = f"Accuracy against cost: {variant.id}"
    if not measured:
        return Section(title, f"Accuracy: {NOT_RECORDED}.", (_table(variant, samples, chosen),))
    runs = " Ringed: the one that runs under the budget while nothing slows the board." if chosen else ""
    figures = [
        Figure(
            _scatter(measured, samples, cost, text=text, label=f"{name} of an inference, {source}", chosen=chosen),
            f"Accuracy (measured) against {name} ({source}). Filled and joined: the Pareto front, what a governor "
            f"chooses from.{runs} Thin lines: the interval of the cost at 90 %, of the accuracy at 95 %.",
        )
        for name, cost, text in (("latency", _latency, milliseconds), ("energy", _energy, microjoules))
        for source in [cost(measured[0].cost).source.value]
    ]
    return Section(
        title,
        f"{variant.format.value}, {variant.precision.value}, {variant.layout.value}: the form a runtime prefers. Every "
        "configuration was run on the test set by the real interpreter.",
        (*figures, _table(variant, samples, chosen)),
    )


def _latency(cost: Cost) -> Estimate:
    return cost.latency_ms


def _energy(cost: Cost) -> Estimate:
    return cost.energy_uj


def _scatter(
    runnables: Sequence[Runnable],
    samples: int,
    cost: Callable[[Cost], Estimate],
    *,
    text: Callable[[float], str],
    label: str,
    chosen: str | None,
) -> str:
    on_front = front(runnables, cost)
    points = []
    for item in runnables:
        accuracy, price = item.accuracy or 0.0, cost(item.cost)
        low, high = wilson(accuracy, samples) if samples else (accuracy, accuracy)
        points.append(
            Point(
                label=item.configuration,
                x=price.value,
                x_low=price.low,
                x_high=price.high,
                y=100 * accuracy,
                y_low=100 * low,
                y_high=100 * high,
                front=item.configuration in on_front,
                chosen=item.configuration == chosen,
                tip=f"{item.configuration}: {percent(accuracy)}, {text(price.value)} ({price.source.value})",
            )
        )
    return scatter(points, x_label=label, y_label="accuracy, % (measured)", x_text=text)


def _table(variant: Variant, samples: int, chosen: str | None, *, fold: str = "") -> Table:
    on_front = front(variant.runnables, _latency)
    return Table(
        ["configuration", "", "accuracy", "latency", "energy", "source", "memory"],
        [
            [
                item.configuration,
                ", ".join(
                    word
                    for word, holds in (
                        ("front", item.configuration in on_front),
                        ("runs", item.configuration == chosen),
                    )
                    if holds
                ),
                accuracy_text(item.accuracy, samples),
                latency_text(item.cost.latency_ms),
                energy_text(item.cost.energy_uj),
                _sources(item.cost),
                size(item.cost.peak_memory_bytes),
            ]
            for item in variant.runnables
        ],
        fold=fold,
    )


def _sources(cost: Cost) -> str:
    both = {cost.latency_ms.source.value: None, cost.energy_uj.source.value: None}
    return ", ".join(both)


def _others(manifest: Manifest, samples: int, chosen: Mapping[str, str]) -> list[Section]:
    others = manifest.variants[1:]
    if not others:
        return []
    tables = [
        _table(
            variant,
            samples,
            chosen.get(variant.id),
            fold=f"{variant.id}: {variant.format.value}, {variant.precision.value}, {variant.layout.value}",
        )
        for variant in others
    ]
    return [Section("Other forms in the bundle", "Used where the preferred one does not run.", tables)]


def _candidates(report: ExportReport | None) -> Section:
    title = "Configurations that were considered"
    if report is None or not report.configurations:
        return Section(title, f"What was considered before conversion: {NOT_RECORDED}.")
    rows = [
        [
            item.id,
            percent(item.torch_accuracy),
            latency_text(item.latency_ms),
            item.latency_ms.source.value,
            "yes" if item.on_front else "",
            "yes" if item.compiled else "no",
            item.reason,
        ]
        for item in report.configurations
    ]
    compiled = sum(item.compiled for item in report.configurations)
    head = ["configuration", "accuracy in torch", "latency", "source", "front", "compiled", "why"]
    return Section(
        title,
        f"{compiled} of {len(rows)} subsets of the seeds are in the bundle. Accuracy is torch's, measured; latency as "
        "estimated before conversion.",
        (Table(head, rows, fold=f"all {len(rows)}"),),
    )


def _layers(report: ExportReport | None) -> Section:
    title = "What each layer costs"
    if report is None or not (report.layers or report.parts):
        return Section(title, f"Costs of layers: {NOT_RECORDED}.")
    if not report.layers:
        note = "Costs operator by operator: not recorded; below, part by part in the preferred form."
        return Section(title, note, (Figure(_part_bars(report.parts), _caption(report.parts[0].cost.latency_ms)),))
    layers, runs = full_chain(report)
    shown = sorted(layers, key=lambda layer: -layer.latency_ms.value)[:_MOST_BARS]
    kept = [layer for layer in layers if layer in shown]
    rest = f" The {len(shown)} costliest of {len(layers)}; the table has all." if len(layers) > len(shown) else ""
    rows = [
        [
            layer.graph,
            layer.operator,
            layer.module or "",
            f"{layer.macs:,}",
            size(layer.weight_bytes),
            size(layer.live_bytes),
            latency_text(layer.latency_ms),
            energy_text(layer.energy_uj),
            layer.latency_ms.source.value,
        ]
        for layer in report.layers
    ]
    head = ["graph", "operator", "part", "MACs", "weights", "live", "latency", "energy", "source"]
    return Section(
        title,
        f"Variant {layers[0].variant}{runs}, operators in the order they run.{rest}",
        (
            Figure(_layer_bars(kept), _caption(kept[0].latency_ms)),
            _by_operator(layers),
            Table(head, rows, fold=f"{len(rows)} operators of all variants"),
        ),
    )


def full_chain(report: ExportReport) -> tuple[list[LayerReport], str]:
    """Layers of the graphs that run with all seeds in the first variant that has any, and how to say so."""
    variant = report.layers[0].variant
    layers = [layer for layer in report.layers if layer.variant == variant]
    runnables = [item for found in report.variants if found.id == variant for item in found.runnables]
    full = max(runnables, key=lambda item: (item.configuration.count("1"), item.configuration), default=None)
    order = {} if full is None else {graph: place for place, graph in enumerate(full.chain)}
    chained = [layer for layer in layers if layer.graph in order]
    if full is None or not chained:
        return layers, ""
    chained.sort(key=lambda layer: (order[layer.graph], layer.index))
    return chained, f", {full.configuration} with all seeds"


def _caption(example: Estimate) -> str:
    return f"Latency of one inference ({example.source.value}); thin line: the profile's 90 % interval."


def _layer_bars(layers: Sequence[LayerReport]) -> str:
    operators = sorted({layer.operator for layer in layers})
    items = [
        Bar(
            label=f"{layer.module or layer.graph} {layer.operator.lower()}",
            value=layer.latency_ms.value,
            low=layer.latency_ms.low,
            high=layer.latency_ms.high,
            text=_taken(layer.latency_ms.value),
            colour=operators.index(layer.operator) % 4,
            tip=f"{layer.graph}[{layer.index}] {layer.operator}: {latency_text(layer.latency_ms)}, "
            f"{layer.latency_ms.source.value}, {layer.macs} MACs",
        )
        for layer in layers
    ]
    return bars(items, title="latency of each operator")


def _taken(latency_ms: float) -> str:
    """A time; an accelerator's model has operators that cost nothing beside the invocation that runs them."""
    return milliseconds(latency_ms) if latency_ms > 0 else "in the invocation"


def _part_bars(parts: Sequence[PartReport]) -> str:
    items = [
        Bar(
            label=f"{part.name} {part.blueprint or ''}".strip(),
            value=part.cost.latency_ms.value,
            low=part.cost.latency_ms.low,
            high=part.cost.latency_ms.high,
            text=milliseconds(part.cost.latency_ms.value),
            colour=2 if part.kind == "seed" else 0,
            tip=f"{part.name}: {latency_text(part.cost.latency_ms)}, {energy_text(part.cost.energy_uj)}",
        )
        for part in parts
    ]
    return bars(items, title="latency of each part")


def _by_operator(layers: Sequence[LayerReport]) -> Table:
    total = sum(layer.latency_ms.value for layer in layers) or 1.0
    kinds: dict[str, list[LayerReport]] = {}
    for layer in layers:
        kinds.setdefault(layer.operator, []).append(layer)
    rows = [
        [
            operator,
            str(len(of_kind)),
            _taken(sum(layer.latency_ms.value for layer in of_kind)),
            percent(sum(layer.latency_ms.value for layer in of_kind) / total),
            f"{sum(layer.macs for layer in of_kind):,}",
        ]
        for operator, of_kind in sorted(kinds.items(), key=lambda kind: -sum(item.latency_ms.value for item in kind[1]))
    ]
    return Table(["operator", "times", "latency", "share", "MACs"], rows)


def _known(manifest: Manifest, report: ExportReport | None) -> Section:
    profile = manifest.profile
    rows = [
        ["profile", f"{profile.id} r{profile.revision}"],
        ["stated interval of the cost model", f"{factor(profile.relative_error)}, 90 % of the time"],
        ["power while computing, while waiting", f"{profile.active_mw:g} mW, {profile.idle_mw:g} mW"],
    ]
    checks = [[line] for line in report.cost_checks] if report else []
    checked = (Table(["checked against"], checks),) if checks else ()
    return Section(
        "How well the costs are known",
        "" if checks else f"What the cost model was checked against on this profile: {NOT_RECORDED}.",
        (Table(["", ""], rows), *checked),
    )
