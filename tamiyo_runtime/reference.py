"""Makes the reference of a bundle from samples on which all was well, and from what the network answered to them.

The ranks are fixed by the number of samples alone, before a figure is looked at: that is what the bound on the rate of
events rests on. Limits are widened by what two machines' rounding may differ by, which only makes events rarer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.reference import Reference, Span

MIN_SAMPLES = 16
_SLACK = 1e-4  # of the range of raw values, and of a confidence
_LEVEL_SHARE = 60  # one sample in so many lies on or beyond each of the four limits of the level
_CONFIDENCE_SHARE = 10  # and one in so many on or below the least confidence: rarer events take longer to tell apart


def confidence_of(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax confidence of each answer, (N, classes) -> (N,)."""
    real = logits.astype(np.float64)
    others: NDArray[np.float64] = np.exp(real - real.max(axis=1, keepdims=True)).sum(axis=1)
    return 1.0 / others


def reference_of(samples: NDArray[Any], logits: Mapping[str, Mapping[str, NDArray[Any]]], *, source: str) -> Reference:
    """From raw samples, (N, *shape), and logits (N, classes) by variant and configuration. ``source``: which samples.

    Raises SchemaError when there are fewer than MIN_SAMPLES: a limit needs samples beyond it.
    """
    count = len(samples)
    require(count >= MIN_SAMPLES, "samples", f"a reference takes {MIN_SAMPLES} samples or more, got {count}")
    flat = samples.reshape(count, -1).astype(np.float64)
    raw = Span(low=float(flat.min()), high=float(flat.max()))
    slack = _SLACK * (raw.high - raw.low)
    each = max(1, count // _LEVEL_SHARE)
    means, deviations = flat.mean(axis=1), flat.std(axis=1)
    inside = np.argsort(means, kind="stable")[each:-each]  # the deviation's limits are set on what the mean's leave
    least = max(1, count // _CONFIDENCE_SHARE)
    return Reference(
        source=source,
        samples=count,
        raw=raw,
        raw_rank=2,
        mean=_span(means, each, slack, lowest=-np.inf),
        deviation=_span(deviations[inside], each, slack, lowest=0.0),
        level_rank=4 * each,
        confidence={
            variant: {
                name: max(0.0, float(np.sort(confidence_of(found))[least - 1]) - _SLACK)
                for name, found in answers.items()
            }
            for variant, answers in logits.items()
        },
        confidence_rank=least,
    )


def _span(figures: NDArray[np.float64], each: int, slack: float, *, lowest: float) -> Span:
    """From the ``each``-th smallest to the ``each``-th largest figure, and a slack on either side."""
    ordered = np.sort(figures)
    return Span(low=max(lowest, float(ordered[each - 1]) - slack), high=float(ordered[-each]) + slack)
