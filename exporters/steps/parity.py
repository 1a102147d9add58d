"""Whether the float graphs compute what torch does: every configuration of every variant, on the whole test set.

int8 graphs are made from these, so those of a target that ships int8 alone are compared as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exporters.evaluate import FLOAT_TOLERANCE, check_parity, logits_of
from exporters.steps.capture import Captured
from exporters.steps.floats import Floats
from exporters.steps.outcome import Outcome, ok
from tamiyo_runtime.contracts.units import plural


def run(captured: Captured, floats: Floats) -> tuple[Floats, Outcome]:
    """The float graphs with their answers; raises IncompatibleError when one is not what torch computes."""
    request = captured.request
    shipped = {id(variant) for variant in floats.compiled}
    logits = {}
    lines = []
    worst = worst_share = 0.0
    for variant in floats.bases:
        answers = logits_of(variant, request.test_inputs, request.input, captured.gates, captured.network.seeded)
        for name, found in answers.items():
            wanted = captured.wanted[name]
            difference = check_parity(f"{variant.recipe.id}, configuration {name}", found, wanted)
            share = difference / max(1.0, float(np.max(np.abs(wanted))))
            worst, worst_share = max(worst, difference), max(worst_share, share)
            lines.append(f"{variant.recipe.id} {name}: max|d| {difference:.1e}, {share:.1e} of the largest logit")
        if id(variant) in shipped:
            logits[variant.recipe.id] = answers
    if floats.policy is not None:
        lines += [f"policy in {form}: max|d| {value:.1e}" for form, value in sorted(floats.policy.differences.items())]
    patterns = sum(len(variant.chains) for variant in floats.bases)
    return replace(floats, logits=logits), ok(
        f"max|d| = {worst:.1e}, {worst_share:.1e} of the largest logit (limit {FLOAT_TOLERANCE:.0e}); "
        f"{plural(patterns, 'configuration')} on {plural(len(request.test_inputs), 'sample')}",
        *lines,
    )
