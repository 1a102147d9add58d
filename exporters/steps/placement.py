"""Step 5: which operators the accelerator takes, by its operator table, and the reason for each that stays behind."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from exporters.backends.flatbuffer import read_model
from exporters.compiled import Artefact, Compiled
from exporters.ops.counting import count
from exporters.ops.shipped import tables
from exporters.ops.table import OperatorTable, Placement, place
from exporters.steps.outcome import Outcome, ok, skip, warn
from exporters.targets import Target
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import Precision

_SHOWN = 3


def run(
    compiled: tuple[Compiled, ...], target: Target, *, strict: bool
) -> tuple[tuple[Compiled, ...], tuple[Placement, ...], Outcome]:
    """Place the operators of the int8 variants; costs after this step know where each operator runs.

    Raises IncompatibleError when ``strict`` and an operator stays on the CPU.
    """
    if target.operator_table is None:
        return compiled, (), skip(f"{target.name} has no accelerator")
    table = tables.get(target.operator_table)
    placements: list[Placement] = []
    variants = []
    for variant in compiled:
        if variant.recipe.precision is not Precision.INT8:
            variants.append(variant)
            continue
        artefacts = {}
        for name, artefact in variant.artefacts.items():
            placed, artefacts[name] = _placed(table, name, artefact)
            placements.extend(placed)
        variants.append(Compiled.of_chains(variant.recipe, artefacts, variant.chains))
    return tuple(variants), tuple(placements), _outcome(table, placements, strict=strict)


def _placed(table: OperatorTable, name: str, artefact: Artefact) -> tuple[tuple[Placement, ...], Artefact]:
    model = read_model(artefact.data)
    placed = place(table, name, model)
    on_host = {item.index for item in placed if not item.on_accelerator}
    return placed, replace(artefact, ops=count(model.operators, on_host=on_host))


def _outcome(table: OperatorTable, placements: list[Placement], *, strict: bool) -> Outcome:
    behind = [item for item in placements if not item.on_accelerator]
    basis = f"by {table.source}" + ("" if table.verified else "; not confirmed by the vendor's compiler")
    text = f"{len(placements) - len(behind)}/{len(placements)} operators on the {table.device}"
    if not behind:
        return ok(text, basis)
    reasons = Counter(f"{item.operator} ({item.reason})" for item in behind)
    shown = [f"{reason}{f' x{n}' if n > 1 else ''}" for reason, n in reasons.most_common(_SHOWN)]
    text += f"; CPU: {', '.join(shown)}" + (" ..." if len(reasons) > _SHOWN else "")
    if strict:
        raise IncompatibleError(text, hint="leave --strict out to let these operators run on the CPU")
    return warn(text, basis, *(f"{item.graph}[{item.index}] {item.operator}: {item.reason}" for item in behind))
