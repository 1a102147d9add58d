"""Step 2: does it fit, by the profile's cost model, before minutes are spent on converting it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device_profiles.cost import Op, estimate
from device_profiles.profile import Profile
from exporters.network import Gates, Network
from exporters.ops.traced import trace
from exporters.report import PartReport
from exporters.steps.capture import Captured
from exporters.steps.outcome import Outcome, ok, warn
from exporters.targets import VariantRecipe
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Cost
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.plan import Layout, Precision
from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent, size

_COSTLIEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgeted:
    """Estimates before conversion: ``traced`` operators by precision and piece, ``costs`` by configuration."""

    traced: Mapping[Precision, Mapping[str, tuple[Op, ...]]]
    costs: Mapping[str, Cost]
    parts: tuple[PartReport, ...]


def run(captured: Captured, profile: Profile, budget: Budget, recipe: VariantRecipe) -> tuple[Budgeted, Outcome]:
    """Estimate every configuration in the preferred variant.

    Raises BudgetError, with the three costliest parts, when even the bare host does not fit.
    """
    network = captured.network
    traced = {
        precision: {piece.name: trace(piece.module, piece.example, precision=precision) for piece in network.pieces}
        for precision in Precision
    }
    ops = traced[recipe.precision]
    costs = {
        item.id: estimate(profile, invocations(network, item.gates, ops, recipe.layout), precision=recipe.precision)
        for item in captured.configurations
    }
    parts = tuple(
        PartReport(
            name=piece.name,
            kind=piece.kind.value,
            blueprint=piece.blueprint,
            params=piece.params,
            cost=estimate(profile, [ops[piece.name]], precision=recipe.precision),
        )
        for piece in network.pieces
    )
    host, full = costs[network.host.id], costs[network.full.id]
    check_host(host, budget, profile, [part for part in parts if part.kind != "seed"])
    deadline = f" of {milliseconds(budget.latency_ms)}" if budget.latency_ms is not None else ""
    error = percent(profile.value("model.relative_error"), digits=0)
    text = (
        f"host {milliseconds(host.latency_ms.value)}, full {milliseconds(full.latency_ms.value)}{deadline}"
        f" (+-{error}, {host.latency_ms.source.value}, {recipe.id})"
    )
    lines = [part_line(part) for part in parts]
    excess = first_excess(full, budget)
    outcome = ok(text, *lines) if excess is None else warn(f"{text}; the full network: {excess}", *lines)
    return Budgeted(traced=traced, costs=costs, parts=parts), outcome


def invocations(
    network: Network, gates: Gates, ops: Mapping[str, tuple[Op, ...]], layout: Layout
) -> tuple[tuple[Op, ...], ...]:
    """The graph invocations of a configuration: one a piece, or one in all."""
    chain = tuple(ops[piece.name] for piece in network.chain(gates))
    return chain if layout is Layout.SEGMENTS else (tuple(op for graph in chain for op in graph),)


def first_excess(cost: Cost, budget: Budget) -> str | None:
    """The first limit that one inference alone exceeds."""
    if budget.latency_ms is not None and cost.latency_ms.value > budget.latency_ms:
        return f"{milliseconds(cost.latency_ms.value)} is over the deadline of {milliseconds(budget.latency_ms)}"
    if budget.memory_bytes is not None and cost.peak_memory_bytes > budget.memory_bytes:
        return f"{size(cost.peak_memory_bytes)} of memory is over the {size(budget.memory_bytes)} allowed"
    if budget.energy_burst_uj is not None and cost.energy_uj.value > budget.energy_burst_uj:
        return f"{microjoules(cost.energy_uj.value)} is over the burst of {microjoules(budget.energy_burst_uj)}"
    return None


def check_host(host: Cost, budget: Budget, profile: Profile, parts: Sequence[PartReport]) -> None:
    """Raise BudgetError, naming the costliest parts, when the bare host exceeds a limit."""
    excess = first_excess(host, budget)
    if excess is None:
        return
    costliest = sorted(parts, key=lambda part: (-part.cost.latency_ms.value, part.name))[:_COSTLIEST]
    raise BudgetError(
        f"even the bare host does not fit on {profile.id}: {excess}; costliest parts: "
        + "; ".join(part_line(part) for part in costliest),
        hint="raise the budget (--budget-latency-ms), shrink these parts, or choose a faster target",
    )


def part_line(part: PartReport) -> str:
    """One part and what it costs by itself."""
    cost = part.cost
    return (
        f"{part.name} ({part.blueprint or part.kind}) {milliseconds(cost.latency_ms.value)}, "
        f"{microjoules(cost.energy_uj.value)}, {cost.macs} MACs, {size(cost.peak_memory_bytes)}"
    )
