"""Where a chain that has begun can still be made shorter: by leaving out the seeds that have not run yet.

Configurations of a variant in segments share their beginnings. Once a chain has come to the end of a graph, every
configuration that begins with the same graphs can be finished from there, so what has been computed is never lost: the
fallback is the configuration that has just been completed, and the trunk pieces to the end. Worked out once when a
bundle is loaded; while it runs, a cut is a comparison after each graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tamiyo_runtime.contracts.plan import Layout, Runnable, Variant


class Way(NamedTuple):
    """Another configuration that can be finished from here, and what its rest costs on the profile."""

    runnable: int
    rest_ms: float


class Step(NamedTuple):
    """A graph of a chain: what it costs on the profile, and what comes after it.

    ``ways``: shorter ones from there on, the most accurate first, the shortest last.
    """

    own_ms: float
    rest_ms: float
    ways: tuple[Way, ...]


def steps(variant: Variant) -> tuple[tuple[Step, ...], ...]:
    """The steps of every runnable. No runnable of a variant that does not run in segments has a way out."""
    runnables = variant.runnables
    costs = [_shared(variant, runnable) for runnable in runnables]
    if variant.layout is not Layout.SEGMENTS:
        return tuple(tuple(Step(cost, 0.0, ()) for cost in own) for own in costs)
    worth = sorted(range(len(runnables)), key=lambda index: _worth(runnables[index], index), reverse=True)
    return tuple(
        tuple(
            Step(own_ms, sum(costs[index][place + 1 :]), _ways(runnables, costs, index, place + 1, worth))
            for place, own_ms in enumerate(costs[index])
        )
        for index in range(len(runnables))
    )


def _shared(variant: Variant, runnable: Runnable) -> list[float]:
    """A chain's latency, shared out among its graphs as theirs are estimated; evenly where they are not."""
    own = [variant.graphs[name].latency_ms for name in runnable.chain]
    known = [ms for ms in own if ms is not None]
    total = runnable.cost.latency_ms.value
    if len(known) < len(own) or not sum(known):
        return [total / len(own)] * len(own)
    return [total * ms / sum(known) for ms in known]


def _ways(
    runnables: Sequence[Runnable], costs: Sequence[Sequence[float]], index: int, done: int, worth: Sequence[int]
) -> tuple[Way, ...]:
    begun, rest_ms = runnables[index].chain[:done], sum(costs[index][done:])
    found = [
        Way(other, sum(costs[other][done:]))
        for other in worth
        if runnables[other].chain[:done] == begun and sum(costs[other][done:]) < rest_ms
    ]
    if not found:
        return ()
    shortest = min(found, key=lambda way: way.rest_ms)
    return (*(way for way in found if way is not shortest), shortest)


def _worth(runnable: Runnable, index: int) -> tuple[float, int]:
    return (-1.0 if runnable.accuracy is None else runnable.accuracy, -index)
