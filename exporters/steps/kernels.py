"""Step 5: the int8 graphs on other kernels than those they were measured on."""

from __future__ import annotations

from exporters.compiled import Compiled
from exporters.quantise.kernels import KERNELS, NOT_INSTALLED, OPERATOR_TOLERANCE_LSB, check_kernels
from exporters.report import KernelReport
from exporters.steps.capture import Captured
from exporters.steps.int8 import Quantised
from exporters.steps.outcome import Outcome, ok, skip, warn

_LEAST_LSB = 2  # of a chain's tolerance, where int8 itself is closer to torch than that


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
        limits[name] = max(float(_LEAST_LSB), found[name].difference / how.scale if how is not None else 0.0)
    return limits


def _outcome(rows: list[KernelReport], limits: dict[str, dict[str, float]]) -> Outcome:
    checked = [row for row in rows if row.worst_lsb is not None]
    texts, details = [], []
    for kernels in KERNELS:
        of = [row for row in checked if row.kernels == kernels]
        if of:
            texts.append(f"{kernels} {max(row.worst_lsb or 0 for row in of)}")
    for row in rows:
        limit = limits[row.variant][row.configuration]
        answer = (
            f"{row.worst_lsb} LSB at the logits (int8 itself {limit:.0f}), {row.operator_lsb} by one operator"
            if row.worst_lsb is not None
            else row.problem
        )
        details.append(f"{row.variant} {row.configuration} on {row.kernels}: {answer}")
    text = f"largest difference of a logit in LSB, {len({row.configuration for row in rows})} configurations: "
    text += ", ".join(texts) if texts else "nothing could be checked"
    if any(row.problem == NOT_INSTALLED for row in rows):
        text += f"; {NOT_INSTALLED}"
    far = [
        f"{row.configuration} on {row.kernels}"
        for row in checked
        if (row.operator_lsb or 0) > OPERATOR_TOLERANCE_LSB
        or (row.worst_lsb or 0) > limits[row.variant][row.configuration]
    ]
    refused = sorted({row.kernels for row in rows if row.problem is not None and row.problem != NOT_INSTALLED})
    if far:
        return warn(f"{text}; too far apart: {', '.join(far[:4])}{' ...' if len(far) > 4 else ''}", *details)
    if refused:
        reason = next(row.problem for row in rows if row.kernels == refused[0] and row.problem is not None)
        return ok(f"{text}; not taken by {', '.join(refused)} ({reason})", *details)
    return ok(text, *details)
