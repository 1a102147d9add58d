"""Which operators the accelerator takes, and the reason for each that stays behind.

By the vendor's compiler where it names them, else by the target's operator table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from exporters.backends.flatbuffer import Model, read_model
from exporters.compiled import Artefact, Compiled
from exporters.ops.counting import count
from exporters.ops.rewrites import advice
from exporters.ops.shipped import tables
from exporters.ops.table import OperatorTable, Placement, place
from exporters.steps.outcome import Outcome, ok, skip, warn
from exporters.steps.vendor import VendorFiles
from exporters.targets import Target
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import Precision

_SHOWN = 3


def run(
    compiled: tuple[Compiled, ...], target: Target, vendor: VendorFiles
) -> tuple[tuple[Compiled, ...], tuple[Placement, ...], Outcome]:
    """Place the operators of the int8 TFLite variants; costs after this step know where each operator runs.

    Raises IncompatibleError when an operator stays behind and nothing beside the accelerator could run it.
    """
    if target.operator_table is None:
        return compiled, (), skip(f"{target.name} has no accelerator")
    table = tables.get(target.operator_table)
    placements: list[Placement] = []
    variants = []
    for variant in compiled:
        if not variant.recipe.int8_tflite:
            variants.append(_on_host(variant))
            continue
        artefacts = {}
        for name, artefact in variant.artefacts.items():
            placed, artefacts[name] = _placed(table, name, artefact, vendor.left)
            placements.extend(placed)
        variants.append(Compiled.of_chains(variant.recipe, artefacts, variant.chains))
    if not placements:
        return tuple(variants), (), skip(f"no int8 TFLite graph for the {table.device}")
    return tuple(variants), tuple(placements), _outcome(table, placements, target, by_compiler=vendor)


def _on_host(variant: Compiled) -> Compiled:
    """A variant that the accelerator's compiler does not take, an int8 ONNX one, priced where it runs."""
    if variant.recipe.precision is not Precision.INT8:
        return variant  # the cost model leaves float to the host by itself
    artefacts = {
        name: replace(artefact, ops=tuple(replace(op, on_accelerator=False) for op in artefact.ops))
        for name, artefact in variant.artefacts.items()
    }
    return Compiled.of_chains(variant.recipe, artefacts, variant.chains)


def _placed(
    table: OperatorTable, name: str, artefact: Artefact, left: Mapping[str, Mapping[str, str]] | None
) -> tuple[tuple[Placement, ...], Artefact]:
    model = read_model(artefact.data)
    placed = place(table, name, model) if left is None else told(name, model, left[name])
    on_host = {item.index for item in placed if not item.on_accelerator}
    return placed, replace(artefact, ops=count(model.operators, on_host=on_host))


def told(graph: str, model: Model, left: Mapping[str, str]) -> tuple[Placement, ...]:
    """Where each operator of a graph runs, from a compiler's reasons by first output tensor."""
    return tuple(
        Placement(
            graph=graph,
            index=operator.index,
            operator=operator.code,
            on_accelerator=operator.outputs[0].name not in left,
            reason=left.get(operator.outputs[0].name),
        )
        for operator in model.operators
    )


def _outcome(table: OperatorTable, placements: list[Placement], target: Target, *, by_compiler: VendorFiles) -> Outcome:
    behind = [item for item in placements if not item.on_accelerator]
    report = by_compiler.report
    if by_compiler.left is not None and report is not None:
        basis = f"by {report.program} {report.version}, operator by operator"
    else:
        basis = f"by {table.source}" + ("" if table.verified else "; not confirmed by the vendor's compiler")
    text = f"{len(placements) - len(behind)}/{len(placements)} operators on the {table.device}"
    if not behind:
        return ok(text, basis)
    reasons = Counter(f"{item.operator} ({item.reason})" for item in behind)
    shown = [f"{reason}{f' x{n}' if n > 1 else ''}" for reason, n in reasons.most_common(_SHOWN)]
    hints = [line for code in dict.fromkeys(item.operator for item in behind) if (line := advice(code)) is not None]
    listed = ", ".join(shown) + (" ..." if len(reasons) > _SHOWN else "")
    if table.host is None:
        raise IncompatibleError(
            f"{target.name} cannot run {listed}; in graphs {', '.join(sorted({item.graph for item in behind}))}",
            hint="; ".join(hints) or f"operators that it has: {', '.join(sorted(table.rules))}",
        )
    text += f"; {table.host}: {listed}"
    return warn(text, basis, *(f"{item.graph}[{item.index}] {item.operator}: {item.reason}" for item in behind), *hints)
