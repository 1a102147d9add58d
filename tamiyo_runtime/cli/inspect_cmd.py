"""``tamiyo inspect``: what a bundle holds, from its signed manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.contracts.budget import Budget
    from tamiyo_runtime.contracts.cost import Estimate
    from tamiyo_runtime.contracts.manifest import Manifest
    from tamiyo_runtime.contracts.plan import Variant
    from tamiyo_runtime.contracts.reference import Reference


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as `tamiyo export` writes it.")],
    *,
    key: Annotated[list[Path] | None, typer.Option(help="trust this public key, and no other")] = None,
    files: Annotated[bool, typer.Option("--files", help="list every file as well")] = False,
    html: Annotated[
        Path | None, typer.Option(help="write the whole report to this HTML file instead", metavar="FILE")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the HTML file if it exists")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the manifest as JSON")] = False,
) -> None:
    """Show configurations with their cost and accuracy, segments, profile, budget and signer. Runs nothing.

    Examples:

      tamiyo inspect digits.tamiyo

      tamiyo inspect digits.tamiyo --html digits.html
    """
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.cli.trust import open_bundle
    from tamiyo_runtime.contracts.document import dump

    opened = open_bundle(bundle, key)
    manifest = opened.manifest
    if html is not None:
        write_page(opened, html, overwrite=overwrite)
        say(f"{html}: the report of {bundle.name}; open it in a browser")
        return
    if as_json:
        emit_json({"digest": opened.digest, "signer": opened.signer.id, "manifest": dump(manifest)})
        return
    _show_head(opened)
    _show_segments(manifest)
    for variant in manifest.variants:
        _show_variant(variant)
    if files:
        _show_files(opened)
    say()
    say(f"Next:  tamiyo verify {bundle} | tamiyo run {bundle} --device simulated:{manifest.profile.id}")


def write_page(opened: Bundle, path: Path, *, overwrite: bool) -> None:
    """The bundle's report as one HTML file; raises InputError when the file exists and ``overwrite`` is False."""
    from exporters.html.bundle_page import render
    from tamiyo_runtime.files import write_atomic_text

    write_atomic_text(path, render(opened), overwrite=overwrite)


def _show_head(opened: Bundle) -> None:
    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.contracts.units import size

    m = opened.manifest
    say(f"{m.name}  for {m.target}, task {m.task}, {len(m.classes)} classes, {size(opened.size_bytes)}")
    if m.provenance.get("smoke") is True:
        say("smoke       made of a few samples to try the path: its accuracies say nothing")
    say(f"version     {m.version}, signed by {opened.signer.short_id}, manifest {opened.digest[:16]}")
    say(f"profile     {m.profile.id} r{m.profile.revision} (sha256 {m.profile.sha256[:8]}...)")
    say(f"budget      {budget_text(m.budget)}")
    shape = "x".join(map(str, m.input.shape))
    say(f"input       {shape} {m.input.layout}, raw {m.input.raw_low:g} to {m.input.raw_high:g}")
    policy = f"{', '.join(sorted(m.policy.graphs))}; {m.policy.observation}" if m.policy else "none"
    say(f"policy      {policy}")
    say(f"watched     {reference_text(m.reference)}")


def reference_text(reference: Reference | None) -> str:
    """What the monitors compare with, for a reader."""
    if reference is None:
        return "no: the bundle holds no reference; export it again for one"
    raw, mean, deviation = (
        f"{span.low:.3g} to {span.high:.3g}" for span in (reference.raw, reference.mean, reference.deviation)
    )
    least = sorted(limit for limits in reference.confidence.values() for limit in limits.values())
    sure = f", least confidence {least[0]:.2f} to {least[-1]:.2f}" if least else ""
    return (
        f"values {raw}, mean {mean}, deviation {deviation}{sure}; by {reference.samples} samples ({reference.source})"
    )


def budget_text(budget: Budget) -> str:
    """The limits of a budget for a reader; ``none`` when it has none."""
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, size

    limits = []
    if budget.latency_ms is not None:
        limits.append(f"{milliseconds(budget.latency_ms)} from a sample's arrival to its answer")
    if budget.temperature_c is not None:
        limits.append(f"{budget.temperature_c:g} C")
    if budget.power_mw is not None and budget.energy_burst_uj is not None:
        limits.append(f"{budget.power_mw:g} mW on average, {microjoules(budget.energy_burst_uj)} at once")
    if budget.memory_bytes is not None:
        limits.append(f"{size(budget.memory_bytes)} of memory")
    if budget.airtime_s_per_hour is not None:
        limits.append(f"{budget.airtime_s_per_hour:g} s of airtime an hour")
    if budget.link_bytes_per_day is not None:
        limits.append(f"{size(budget.link_bytes_per_day)} a day over the link")
    return "; ".join(limits) or "none"


def _show_segments(manifest: Manifest) -> None:
    from tamiyo_runtime.cli.render import say, table

    say()
    table(
        ["segment", "kind", "slot", "blueprint", "params", "MACs"],
        [[s.name, s.kind, s.slot, s.blueprint, s.params, s.macs] for s in manifest.plan.segments],
    )


def _show_variant(variant: Variant) -> None:
    from tamiyo_runtime.cli.render import say, table
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent, size

    say()
    say(f"variant {variant.id}: {variant.format}, {variant.precision}, {variant.layout}, {len(variant.graphs)} graphs")
    table(
        ["configuration", "accuracy", "latency", "interval", "energy", "memory", "MACs", "cost is"],
        [
            [
                item.configuration,
                None if item.accuracy is None else percent(item.accuracy),
                milliseconds(item.cost.latency_ms.value),
                _interval(item.cost.latency_ms),
                microjoules(item.cost.energy_uj.value),
                size(item.cost.peak_memory_bytes),
                item.cost.macs,
                item.cost.latency_ms.source,
            ]
            for item in variant.runnables
        ],
    )


def _interval(estimate: Estimate) -> str:
    from tamiyo_runtime.contracts.units import milliseconds

    return f"{milliseconds(estimate.low)} to {milliseconds(estimate.high)}"


def _show_files(opened: Bundle) -> None:
    from tamiyo_runtime.cli.render import say, table

    say()
    entries = opened.manifest.files
    table(["file", "bytes", "sha256"], [[n, entries[n].size_bytes, entries[n].sha256[:16]] for n in opened.names])
