"""The report's account of layers: what every operator of every compiled graph costs, where it runs and whence it came.

The costs of a graph's operators add up to those of the graph invoked by itself; the invocation is an entry of its own,
at index -1. Where a vendor's compiler timed a graph, its time is shared out as the cost model would have it, since it
says no more than the sum.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from device_profiles.cost import Op, OpCost, explain
from device_profiles.errors_table import found
from device_profiles.profile import Profile
from exporters.compiled import Artefact, Compiled
from exporters.network import Network
from exporters.ops.table import Placement
from exporters.report import LayerReport
from exporters.steps.budget import Budgeted

INVOCATION = "(invocation)"
Where = Mapping[tuple[str, int], Placement]
Noise = Mapping[str, Mapping[str, Mapping[int, float]]]
NO_NOISE: Noise = {}


def layers(
    compiled: Sequence[Compiled],
    *,
    network: Network,
    budgeted: Budgeted,
    profile: Profile,
    placements: Sequence[Placement] = (),
    noise: Noise = NO_NOISE,
) -> tuple[LayerReport, ...]:
    """An entry an operator, variant by variant in their order, graph by graph, in running order.

    ``noise``: signal over quantisation noise in dB by variant, graph and index.
    """
    where = {(item.graph, item.index): item for item in placements}
    return tuple(
        layer
        for variant in compiled
        for graph, artefact in variant.artefacts.items()
        for layer in _graph(
            variant,
            graph,
            artefact,
            network=network,
            budgeted=budgeted,
            profile=profile,
            where=where,
            noise=noise.get(variant.recipe.id, {}).get(graph, {}),
        )
    )


def cost_checks(profile: Profile) -> tuple[str, ...]:
    """What the cost model was checked against on this device and how far off it was, a line each."""
    if not profile.validation:
        return ("not checked against any row of this device",)
    return tuple(f"{item.figure}: {found(item)}: {item.against}" for item in profile.validation)


def _graph(
    variant: Compiled,
    graph: str,
    artefact: Artefact,
    *,
    network: Network,
    budgeted: Budgeted,
    profile: Profile,
    where: Where,
    noise: Mapping[int, float],
) -> list[LayerReport]:
    precision = variant.recipe.precision
    # A gated graph holds all seeds, and its operators are known by the configurations that run in it.
    ops = artefact.ops or variant.work[network.full.id][0]
    names = {piece.name: f"{piece.name}/{piece.blueprint or piece.kind.value}" for piece in network.pieces}
    if graph in names:
        modules: list[str | None] = [names[graph]] * len(ops)
    else:
        runs = {item.id: item.gates for item in network.configurations}
        chain = network.chain(runs.get(graph, network.full.gates))
        modules = _aligned(ops, [(names[p.name], budgeted.traced[precision].get(p.name, ())) for p in chain])
    return _entries(variant, graph, ops, profile, modules=modules, where=where, noise=noise)


def layers_of(variant: Compiled, graph: str, profile: Profile) -> tuple[LayerReport, ...]:
    """An entry an operator of one graph that no part of a network is known of."""
    ops = variant.artefacts[graph].ops
    return tuple(_entries(variant, graph, ops, profile, modules=[None] * len(ops), where={}, noise={}))


def _entries(
    variant: Compiled,
    graph: str,
    ops: Sequence[Op],
    profile: Profile,
    *,
    modules: Sequence[str | None],
    where: Where,
    noise: Mapping[int, float],
) -> list[LayerReport]:
    precision = variant.recipe.precision
    shares = _shares(explain(profile, [ops], precision=precision), variant.artefacts[graph])
    found = []
    for index, (term, share) in enumerate(shares, start=-1):
        placed = where.get((graph, index)) if variant.recipe.int8_tflite else None
        found.append(
            LayerReport(
                variant=variant.recipe.id,
                graph=graph,
                index=index,
                operator=INVOCATION if term.op is None else term.op.code or term.op.kind.value.upper(),
                macs=0 if term.op is None else term.op.macs,
                weight_bytes=0 if term.op is None else term.op.weight_bytes,
                live_bytes=term.live_bytes,
                latency_ms=variant.sourced(term.latency_us.scaled(share * 1e-3)),
                energy_uj=term.energy_uj.scaled(share),
                on_accelerator=placed is not None and placed.on_accelerator,
                reason=None if placed is None else placed.reason,
                module=None if term.op is None else modules[index],
                sqnr_db=noise.get(index),
            )
        )
    return found


def _shares(terms: Sequence[OpCost], artefact: Artefact) -> list[tuple[OpCost, float]]:
    """Each term with the factor that brings those on the accelerator to the vendor's time, where that is known."""
    on = [term.op is not None and term.op.on_accelerator for term in terms]
    ours = sum(term.latency_us.value for term, here in zip(terms, on, strict=True) if here)
    factor = artefact.vendor.latency_us / ours if artefact.vendor is not None and ours > 0 else 1.0
    return [(term, factor if here else 1.0) for term, here in zip(terms, on, strict=True)]


def _aligned(ops: Sequence[Op], parts: Sequence[tuple[str, Sequence[Op]]]) -> list[str | None]:
    """The part that each operator of a whole graph came from, by lining it up with the parts' operators.

    What stands in the graph alone, such as a RESHAPE that the converter added, counts to the part before it.
    """
    traced = [(name, op) for name, part in parts for op in part]
    match = difflib.SequenceMatcher(
        None, [(op.code, op.macs) for op in ops], [(op.code, op.macs) for _, op in traced], autojunk=False
    )
    modules: list[str | None] = [None] * len(ops)
    for block in match.get_matching_blocks():
        for step in range(block.size):
            modules[block.a + step] = traced[block.b + step][0]
    first = next((name for name in modules if name is not None), None)
    for index, name in enumerate(modules):
        modules[index] = name or (modules[index - 1] if index else first)
    return modules
