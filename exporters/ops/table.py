"""Operator tables: which operators of a graph an accelerator takes, and why not the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporters.backends.flatbuffer import Model, Operator
from tamiyo_runtime.contracts.registry import Registry

Rule = Callable[[Operator], str | None]
"""Says why the accelerator does not take an operator; None when it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTable:
    """What an accelerator takes.

    ``rules`` by operator: an operator without an entry is not supported. ``general`` rules hold for all of them.
    ``one_partition``: the compiler hands over only what comes before the first operator that it does not take.
    ``source`` says where the rules come from, ``verified`` whether the vendor's compiler has confirmed them.
    ``host`` is what runs the operators that it does not take; None where nothing does, so that none may be left.
    """

    id: str
    device: str
    source: str
    verified: bool
    rules: dict[str, tuple[Rule, ...]]
    general: tuple[Rule, ...]
    one_partition: bool
    host: str | None = "CPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one operator of a graph runs. ``reason`` is None on the accelerator."""

    graph: str
    index: int
    operator: str
    on_accelerator: bool
    reason: str | None


tables: Registry[OperatorTable] = Registry("operator-tables")


def place(table: OperatorTable, graph: str, model: Model) -> tuple[Placement, ...]:
    """Where each operator of a graph runs, in execution order."""
    placed: list[Placement] = []
    cut: str | None = None
    for operator in model.operators:
        reason = _refusal(table, operator)
        if reason is None and cut is not None:
            reason = f"comes after {cut}, which is on the CPU; only one part of a graph is compiled"
        elif reason is not None and table.one_partition and cut is None:
            cut = operator.code
        placed.append(
            Placement(
                graph=graph,
                index=operator.index,
                operator=operator.code,
                on_accelerator=reason is None,
                reason=reason,
            )
        )
    return tuple(placed)


def _refusal(table: OperatorTable, operator: Operator) -> str | None:
    rules = table.rules.get(operator.code)
    if rules is None:
        return f"the {table.device} has no {operator.code}"
    return first_refusal(operator, (*table.general, *rules))


def first_refusal(operator: Operator, rules: Sequence[Rule]) -> str | None:
    """The first rule's word against an operator."""
    for rule in rules:
        reason = rule(operator)
        if reason is not None:
            return reason
    return None
