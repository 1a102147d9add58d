"""How much each part, and each operator in it, costs when it alone computes in int8 and all else in float.

Measured on test samples by the real interpreter; what enters a graph is worked out once in float, so a row costs one
run of the quantiser and a run of the graphs from there on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporters.backends import quantiser
from exporters.backends.flatbuffer import Operator, read_model
from exporters.backends.ranges import SAME_SCALE
from exporters.quantise.noise import sqnr_db
from exporters.quantise.play import play, play_through
from exporters.quantise.ptq import Calibrated
from exporters.report import SensitivityReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 128
MOST_OPERATORS = 48  # rows beyond this many say little and cost seconds; the largest by noise are not known before


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """``tensors``: what the part's operators write, all of them when it is a whole graph; ``single``: one operator."""

    graph: str
    tensors: tuple[str, ...]
    single: bool
    report: SensitivityReport


def sensitivities(
    calibrated: Calibrated,
    int8: Mapping[str, bytes],
    configuration: str,
    feed: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> tuple[Sensitivity, ...]:
    """Graphs of a configuration's chain and their operators, the most sensitive first.

    ``feed``: scaled test samples in the first graph's order of axes; at most 128 of them, evenly spread, are used.
    """
    rows = np.linspace(0, len(feed) - 1, min(SAMPLES, len(feed))).astype(np.int64)
    value, truth = feed[rows], labels[rows]
    chain = calibrated.chains[configuration]
    files = [calibrated.files[name] for name in chain]
    entering = []
    for data in files:
        entering.append(value)
        value = play(data, value)
    wanted = value
    base = float(np.mean(wanted.argmax(axis=1) == truth))

    def measured(position: int, data: bytes, part: str) -> SensitivityReport:
        answers = play_through([data, *files[position + 1 :]], entering[position])
        accuracy = float(np.mean(answers.argmax(axis=1) == truth))
        return SensitivityReport(
            part=part,
            accuracy=accuracy,
            accuracy_lost=base - accuracy,
            sqnr_db=sqnr_db(answers, wanted),
            kept_float=False,
        )

    found: list[Sensitivity] = []
    budget = MOST_OPERATORS
    for position, name in enumerate(chain):
        operators = read_model(calibrated.files[name]).operators
        if len(chain) > 1:
            tensors = tuple(tensor.name for operator in operators for tensor in operator.outputs)
            report = measured(position, int8[name], name)
            found.append(Sensitivity(graph=name, tensors=tensors, single=False, report=report))
        for operator in _computing(operators)[:budget]:
            tensor = operator.outputs[0].name
            alone = quantiser.quantise_alone(
                calibrated.files[name],
                calibrated.ranges[name],
                tensor,
                per_tensor_dense=calibrated.recipe.per_tensor_dense,
                name=name,
            )
            if alone is not None:
                report = measured(position, alone, f"{name}[{operator.index}] {operator.code}")
                found.append(Sensitivity(graph=name, tensors=(tensor,), single=True, report=report))
        budget = max(0, budget - len(operators))
    return tuple(sorted(found, key=_order))


def _computing(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Operators that add noise of their own: those which only move values take their input's quantisation."""
    return tuple(operator for operator in operators if operator.code not in SAME_SCALE)


def _order(item: Sensitivity) -> tuple[float, float]:
    decibels = item.report.sqnr_db
    return (float("inf") if decibels is None else decibels, -item.report.accuracy_lost)
