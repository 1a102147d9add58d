"""Step 2: does it fit, by the profile's cost model, before minutes are spent on converting it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_profiles.cost import Op, estimate
from device_profiles.profile import Profile
from exporters.grouping import grouped
from exporters.layouts import Choice, Facts, choose
from exporters.network import Gates, Network
from exporters.ops.traced import trace
from exporters.report import PartReport
from exporters.steps.capture import Captured
from exporters.steps.outcome import Outcome, ok, warn
from exporters.targets import Target
from tamiyo_runtime.archive import MAX_TOTAL_BYTES
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Cost
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.plan import Format, Layout, Precision
from tamiyo_runtime.contracts.units import microjoules, milliseconds, size

_COSTLIEST = 3
_FILE_SHARE = 50  # percent of a bundle that whole graphs may fill: samples, vectors and other formats travel too


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgeted:
    """Estimates before conversion: ``traced`` operators by precision and piece, ``costs`` by configuration.

    ``captured`` and ``target`` are the network with its seeds grouped and the target with its layouts settled, as
    ``choice`` says.
    """

    traced: Mapping[Precision, Mapping[str, tuple[Op, ...]]]
    costs: Mapping[str, Cost]
    parts: tuple[PartReport, ...]
    choice: Choice
    captured: Captured
    target: Target


def run(captured: Captured, profile: Profile, budget: Budget, target: Target) -> tuple[Budgeted, Outcome]:
    """Choose the layout and estimate every configuration in the preferred variant.

    Raises BudgetError, with the three costliest parts, when even the bare host does not fit.
    """
    traced = {
        precision: {part.name: trace(part.module, part.example, precision=precision) for part in captured.network.parts}
        for precision in Precision
    }
    choice = choose(facts(captured, profile, budget, target, traced))
    captured = replace(captured, network=grouped(captured.network, choice.groups))
    target = target.laid_out(choice.layout)
    network, recipe = captured.network, target.variants[0]
    for ops in traced.values():
        ops |= {piece.name: _joined(ops, piece.made_of) for piece in network.pieces if piece.made_of}
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
        for piece in network.parts
    )
    host, full = costs[network.host.id], costs[network.full.id]
    check_host(host, budget, profile, [part for part in parts if part.kind != "seed"])
    deadline = f" of {milliseconds(budget.latency_ms)}" if budget.latency_ms is not None else ""
    factor = 1 + profile.value("model.relative_error")
    text = (
        f"host {milliseconds(host.latency_ms.value)}, full {milliseconds(full.latency_ms.value)}{deadline}"
        f" (within a factor of {factor:.2g}, {host.latency_ms.source.value}, {recipe.id})"
    )
    text += f"; {choice.reason}"
    lines = [part_line(part) for part in parts]
    excess = first_excess(full, budget) or memory_excess(full, profile)
    outcome = ok(text, *lines) if excess is None else warn(f"{text}; the full network: {excess}", *lines)
    budgeted = Budgeted(traced=traced, costs=costs, parts=parts, choice=choice, captured=captured, target=target)
    return budgeted, outcome


def facts(
    captured: Captured,
    profile: Profile,
    budget: Budget,
    target: Target,
    traced: Mapping[Precision, Mapping[str, tuple[Op, ...]]],
) -> Facts:
    """What the layout of the TFLite variants depends on, estimated for the preferred one of them."""
    network = captured.network
    tflite = [variant for variant in target.variants if variant.format is Format.TFLITE] or list(target.variants)
    precision = tflite[0].precision
    ops = traced[precision]

    def latency_ms(graphs: Sequence[tuple[Op, ...]]) -> float:
        return estimate(profile, graphs, precision=precision).latency_ms.value

    def weights(gates: Gates, number: Precision) -> int:
        return sum(op.weight_bytes for part in network.chain(gates) for op in traced[number][part.name])

    whole_ms = {
        item.id: latency_ms(invocations(network, item.gates, ops, Layout.WHOLE)) for item in captured.configurations
    }
    chain = invocations(network, network.full.gates, ops, Layout.SEGMENTS)
    full_ms = whole_ms[network.full.id]
    boundary_ms = (latency_ms(chain) - full_ms) / (len(chain) - 1) if len(chain) > 1 else 0.0
    empty_ms = latency_ms([()])
    return Facts(
        asked=target.layout,
        full_ms=full_ms,
        boundary_ms=boundary_ms,
        boundaries=len(chain) - 1,
        seeds_ms={
            part.slot: latency_ms([ops[part.name]]) - empty_ms for part in network.parts if part.slot is not None
        },
        whole_ms=whole_ms,
        accuracy=captured.accuracy,
        host=network.host.id,
        full=network.full.id,
        most_wholes=target.max_whole,
        memory_bytes={
            item.id: max(weights(item.gates, variant.precision) for variant in tflite)
            for item in captured.configurations
        },
        memory_limit_bytes=budget.memory_bytes,
        file_bytes={
            item.id: sum(weights(item.gates, variant.precision) for variant in tflite)
            for item in captured.configurations
        },
        file_limit_bytes=_FILE_SHARE * MAX_TOTAL_BYTES // 100,
    )


def _joined(ops: Mapping[str, tuple[Op, ...]], parts: Sequence[str]) -> tuple[Op, ...]:
    return tuple(op for part in parts for op in ops[part])


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


def memory_excess(cost: Cost, profile: Profile) -> str | None:
    """What does not fit where a device keeps weights and activations apart: in flash, in SRAM."""
    for name, what, used in (
        ("memory.flash_bytes", "weights", cost.weight_bytes),
        ("memory.sram_bytes", "activations", cost.activation_bytes),
    ):
        if name in profile.figures and used > profile.value(name):
            room = size(int(profile.value(name)))
            return f"{size(used)} of {what} is over the {room} of {profile.id} ({name})"
    return None


def check_host(host: Cost, budget: Budget, profile: Profile, parts: Sequence[PartReport]) -> None:
    """Raise BudgetError, naming the costliest parts, when the bare host exceeds a limit."""
    excess = first_excess(host, budget) or memory_excess(host, profile)
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
