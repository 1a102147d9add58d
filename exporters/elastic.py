"""Configurations beside each other: which are on the front of accuracy against latency, and which a budget picks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from exporters import pareto
from exporters.report import ConfigurationReport
from exporters.steps.budget import Budgeted
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.plan import Configuration, Layout, Variant
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.governor import Case, Governor, Limits
from tamiyo_runtime.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Of a variant's configurations: those that none beats in both accuracy and latency, and the one that runs."""

    front: frozenset[str]
    chosen: str | None


def marks(
    variant: Variant, configurations: Collection[Configuration], budget: Budget, profile: ProfileSnapshot
) -> Marks:
    """What the governor would grant on a cool, idle board with a full bucket, without a policy; None: nothing fits."""
    options = Options.of(variant.runnables, tuple(configurations), profile)
    limits = Limits.of(budget)
    governor, case = Governor(options, limits), Case(limits.burst_uj)
    fitting = (index for index in options.best_first if governor.refusal(index, case) is None)
    index = next(fitting, None)
    measured = {item.configuration: item for item in variant.runnables if item.accuracy is not None}
    front = pareto.front(
        {name: item.cost.latency_ms.value for name, item in measured.items()},
        {name: item.accuracy or 0.0 for name, item in measured.items()},
    )
    return Marks(front=frozenset(front), chosen=None if index is None else options.items[index].configuration)


def configurations(budgeted: Budgeted) -> tuple[ConfigurationReport, ...]:
    """Every subset of the groups as estimated before conversion, cheapest first, and why it was compiled or not."""
    captured, choice = budgeted.captured, budgeted.choice
    network = captured.network
    costs = {item.id: budgeted.costs[item.id] for item in captured.configurations}
    front = pareto.front(
        {name: cost.latency_ms.value for name, cost in costs.items()}, {name: captured.accuracy[name] for name in costs}
    )
    ends = {network.full.id: "the full network", network.host.id: "the bare host"}
    found = []
    for name in sorted(costs, key=lambda name: (costs[name].latency_ms.value, name)):
        compiled = choice.layout is not Layout.WHOLE or name in choice.wholes
        if not compiled:
            reason = "left out: others cover the front better" if name in front else "left out: not on the front"
        elif name in ends:
            reason = ends[name]
        elif len(choice.wholes) < len(costs) and choice.layout is Layout.WHOLE:
            reason = "the best of the front for its cost"
        else:
            reason = "every subset is compiled"
        found.append(
            ConfigurationReport(
                id=name,
                torch_accuracy=captured.accuracy[name],
                latency_ms=costs[name].latency_ms,
                on_front=name in front,
                compiled=compiled,
                reason=reason,
            )
        )
    return tuple(found)
