"""Step 5: the int8 graphs on other kernels than those they were measured on."""

from __future__ import annotations

from collections.abc import Mapping

from exporters.compiled import Compiled
from exporters.quantise.kernels import KERNELS, NOT_INSTALLED, OPERATOR_TOLERANCE_LSB, check_kernels
from exporters.report import KernelReport
from exporters.steps.capture import Captured
from exporters.steps.int8 import Quantised
from exporters.steps.outcome import Outcome, ok, skip, warn
from tamiyo_runtime.contracts.units import percent, plural

GOAL_LSB = 2
"""What a chain should differ by at most; more is told, but no fault while int8 itself is further from torch."""
MOST_FLIPPED = 0.05
"""Share of samples that other kernels may answer otherwise, one sample at least."""

Limits = Mapping[str, Mapping[str, float]]
"""The largest difference of a logit that is no fault, in quantisation steps, by variant and configuration."""


def run(captured: Captured, quantised: Quantised) -> tuple[tuple[KernelReport, ...], Outcome]:
    """Run every configuration of every int8 TFLite variant on LiteRT's other kernels and on TFLite Micro's."""
    request = captured.request
    rows = [
        row for compiled in quantised.compiled for row in check_kernels(compiled, request.test_inputs, request.input)
    ]
    if not rows:
        return (), skip("the target has no int8 TFLite variant")
    limits = {compiled.recipe.id: _tolerance_lsb(compiled, quantised) for compiled in quantised.compiled}
    return tuple(rows), _outcome(rows, limits)


def _tolerance_lsb(compiled: Compiled, quantised: Quantised) -> dict[str, float]:
    """By configuration, in quantisation steps of the logits: the largest error of int8 itself against torch."""
    found = quantised.comparisons[compiled.recipe.id]
    limits = {}
    for name, chain in compiled.chains.items():
        how = compiled.artefacts[chain[-1]].graph.outputs[0].quantisation
        limits[name] = max(float(GOAL_LSB), found[name].difference / how.scale if how is not None else 0.0)
    return limits


def _outcome(rows: list[KernelReport], limits: Limits) -> Outcome:
    checked = [row for row in rows if row.worst_lsb is not None]
    worst = [f"{kernels} {max(found)}" for kernels in KERNELS if (found := _logits(checked, kernels))]
    text = f"largest difference of a logit in LSB, {len({row.configuration for row in rows})} configurations: "
    text += ", ".join(worst) if worst else "nothing could be checked"
    details = [f"{row.variant} {row.configuration} on {row.kernels}: {_line(row, limits)}" for row in rows]
    far = [row for row in checked if _too_far(row, limits)]
    beyond = [row for row in checked if (row.worst_lsb or 0) > GOAL_LSB]
    if beyond:
        text += f"; {len(beyond)} of {plural(len(checked), 'run')} beyond {GOAL_LSB}"
        if not far:
            flipped = max(row.flipped or 0.0 for row in beyond)
            text += f", each closer than int8 itself is to torch, at most {percent(flipped)} of answers changed"
    if any(row.problem == NOT_INSTALLED for row in rows):
        text += f"; {NOT_INSTALLED}"
    if far:
        names = [f"{row.configuration} on {row.kernels}" for row in far]
        return warn(f"{text}; too far apart: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}", *details)
    refused = sorted({row.kernels for row in rows if row.problem is not None and row.problem != NOT_INSTALLED})
    if refused:
        reason = next(row.problem for row in rows if row.kernels == refused[0] and row.problem is not None)
        return ok(f"{text}; not taken by {', '.join(refused)} ({reason})", *details)
    return ok(text, *details)


def _logits(rows: list[KernelReport], kernels: str) -> list[int]:
    return [row.worst_lsb for row in rows if row.kernels == kernels and row.worst_lsb is not None]


def _too_far(row: KernelReport, limits: Limits) -> bool:
    """Whether an operator computes something else, or the chain is off by more than int8 itself, or answers change."""
    return (
        (row.operator_lsb or 0) > OPERATOR_TOLERANCE_LSB
        or (row.worst_lsb or 0) > limits[row.variant][row.configuration]
        or round((row.flipped or 0.0) * row.samples) > max(1, int(MOST_FLIPPED * row.samples))
    )


def _line(row: KernelReport, limits: Limits) -> str:
    if row.worst_lsb is None:
        return row.problem or ""
    return (
        f"{row.worst_lsb} LSB at the logits (int8 itself {limits[row.variant][row.configuration]:.0f}), "
        f"{row.operator_lsb} by one operator, {percent(row.flipped or 0.0)} of answers changed"
    )
