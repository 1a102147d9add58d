"""Mixed precision: the operators that suffer most stay in float, as few as reach what is asked.

A graph keeps its int8 input and output, so chains stay consistent at every seam; inside, a DEQUANTIZE and a QUANTIZE
stand around what is float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporters.backends.flatbuffer import Model, read_model
from exporters.backends.ranges import SAME_SCALE
from exporters.evaluate import Comparison
from exporters.quantise.goal import Goal
from exporters.quantise.ptq import Calibrated
from exporters.quantise.sensitivity import Sensitivity

MOST_TRIALS = 24

Measure = Callable[[Mapping[str, bytes]], Mapping[str, Comparison]]
Units = Mapping[tuple[str, str], Sensitivity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Int8 graphs with the operators that write ``floating`` in float, by graph, and how they answer."""

    floating: Mapping[str, frozenset[str]]
    files: Mapping[str, bytes]
    comparisons: Mapping[str, Comparison]


def search(calibrated: Calibrated, goal: Goal, parts: tuple[Sensitivity, ...], measure: Measure) -> Mixed | None:
    """The cheapest set of operators, in order of sensitivity, whose float computation meets the goal, or comes closest.

    Operators join the set one by one, twice as many a trial; then those that turn out not to be needed leave it, the
    least sensitive first. None when there is nothing to try.
    """
    order = [(item.graph, item.tensors[0]) for item in parts if item.single]
    if not order:
        return None
    trials = [MOST_TRIALS]
    models = {graph: read_model(calibrated.files[graph]) for graph, _ in order}

    def tried(units: list[tuple[str, str]]) -> Mixed:
        trials[0] -= 1
        floating: dict[str, set[str]] = {}
        for graph, tensor in units:
            floating.setdefault(graph, set()).update(_followed(models[graph], tensor))
        files = calibrated.quantise(floating)
        return Mixed(
            floating={graph: frozenset(tensors) for graph, tensors in floating.items()},
            files=files,
            comparisons=measure(files),
        )

    best, size = tried(order[:1]), 1
    while goal.missed(best.comparisons) and size < len(order) and trials[0] > 0:
        size = min(2 * size, len(order))
        candidate = tried(order[:size])
        if goal.distance(candidate.comparisons) < goal.distance(best.comparisons):
            best = candidate
    if goal.missed(best.comparisons):
        return best
    units = order[:size]
    for unit in reversed(order[:size]):
        if len(units) == 1 or trials[0] <= 0:
            break
        fewer = [item for item in units if item != unit]
        candidate = tried(fewer)
        if not goal.missed(candidate.comparisons):
            best, units = candidate, fewer
    return best


def _followed(model: Model, tensor: str) -> set[str]:
    """A tensor and what operators that only move values make of it: rounding between two float operators would undo
    what they are kept in float for.
    """
    found = {tensor}
    for operator in model.operators:
        moved = {item.name for item in operator.inputs if not item.constant}
        if operator.code in SAME_SCALE and moved & found:
            found.add(operator.outputs[0].name)
    return found
