"""The vendor's compiler on every int8 TFLite graph: files for the bundle, figures for the costs, its word on operators.

It comes before the placement, which follows the compiler wherever it names the operators that it leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from exporters.backends.flatbuffer import read_model
from exporters.compiled import Artefact, Compiled
from exporters.report import VendorReport
from exporters.steps.outcome import Outcome, ok, skip, warn
from exporters.targets import Target
from exporters.vendors.compiler import Compilation, VendorCompiler, VendorCost
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.units import plural, size

FOLDER = "vendor"


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFiles:
    """Files the compiler made, by name inside the bundle. ``left`` as in `Compilation`: None where it does not say."""

    files: Mapping[str, bytes]
    report: VendorReport | None
    left: Mapping[str, Mapping[str, str]] | None = None


def run(compiled: tuple[Compiled, ...], target: Target) -> tuple[tuple[Compiled, ...], VendorFiles, Outcome]:
    """Compile the int8 graphs, or say which command would; graphs that were timed carry their cost afterwards.

    Raises MissingDependencyError when a compiler that the device can't do without is not installed, IncompatibleError
    when such a one fails.
    """
    compiler = target.compiler
    if compiler is None:
        return compiled, VendorFiles(files={}, report=None), skip(f"{target.name} needs no vendor compiler")
    graphs = {
        name: artefact.data
        for variant in compiled
        if variant.recipe.int8_tflite
        for name, artefact in variant.artefacts.items()
    }
    if not graphs:
        return compiled, VendorFiles(files={}, report=None), skip(f"no int8 TFLite graph for {compiler.program}")
    version = compiler.version()
    command = compiler.command([f"{name}.tflite" for name in graphs], target.options)
    report = VendorReport(program=compiler.program, command=command, ran=False, version=version)
    if version is None:
        if compiler.needed:
            raise compiler.missing()
        return compiled, VendorFiles(files={}, report=report), _elsewhere(compiler, compiled, command)
    made = compiler.compile(graphs, target.options)
    if made.problem is not None:
        if compiler.needed:
            raise IncompatibleError(made.problem, hint="see [export.options] of the profile, and the graph's operators")
        return compiled, VendorFiles(files={}, report=report), warn(made.problem)
    mapped, unmapped = _counts(made, graphs)
    report = replace(report, ran=True, costs=made.costs, mapped=mapped, unmapped=unmapped)
    files = VendorFiles(
        files={f"{FOLDER}/{name}": data for name, data in made.files.items()}, report=report, left=made.left
    )
    return tuple(_timed(variant, made.costs) for variant in compiled), files, _outcome(compiler, made, report)


def _elsewhere(compiler: VendorCompiler, compiled: tuple[Compiled, ...], command: str) -> Outcome:
    folder = next(variant.recipe.id for variant in compiled if variant.recipe.int8_tflite)
    return skip(
        f"{compiler.program} not found: the int8 graphs run on the CPU as they are",
        f"compile elsewhere: unzip BUNDLE 'graphs/*' && cd graphs/{folder} && {command}",
        f"the compiler: {compiler.where}",
    )


def _counts(made: Compilation, graphs: Mapping[str, bytes]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Operators on the accelerator and off it, by kind: as the compiler counts them, or from those it names."""
    if made.left is None:
        return made.mapped, made.unmapped
    mapped: Counter[str] = Counter()
    unmapped: Counter[str] = Counter()
    for name, data in graphs.items():
        for operator in read_model(data).operators:
            reason = made.left[name].get(operator.outputs[0].name)
            if reason is None:
                mapped[operator.code] += 1
            else:
                unmapped[f"{operator.code} ({reason})"] += 1
    return dict(mapped), dict(unmapped)


def _timed(variant: Compiled, costs: Mapping[str, VendorCost]) -> Compiled:
    if not variant.recipe.int8_tflite:
        return variant
    artefacts: dict[str, Artefact] = {
        name: replace(artefact, vendor=costs.get(name)) for name, artefact in variant.artefacts.items()
    }
    return replace(variant, artefacts=artefacts)


def _outcome(compiler: VendorCompiler, made: Compilation, report: VendorReport) -> Outcome:
    operators = plural(sum(report.mapped.values()), "operator")
    text = f"{plural(len(made.files), 'graph')} compiled, {operators} on the accelerator"
    lines = []
    if made.costs:
        cycles = sum(item.cycles for item in made.costs.values())
        text += f", {cycles} cycles in all; {compiler.program}'s own estimate, not checked on hardware"
        lines = [
            f"{name}: {item.cycles} cycles, {item.latency_us:.1f} us at {item.clock_mhz:g} MHz, "
            f"{size(item.sram_bytes)} working, {size(item.stored_bytes)} stored"
            for name, item in made.costs.items()
        ]
    if report.unmapped and made.left is None:  # where it names them, the placement does
        return warn(f"{text}; CPU: {', '.join(sorted(report.unmapped))}", *lines)
    return ok(text, *lines)
