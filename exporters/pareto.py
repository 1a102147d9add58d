"""Which whole configurations to compile where a boundary is dear: a few from the front of accuracy against cost."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence


def front(costs: Mapping[str, float], accuracies: Mapping[str, float]) -> tuple[str, ...]:
    """The configurations that none beats in both cost and accuracy, cheapest first; ties go to the cheaper."""
    chosen: list[str] = []
    best = -1.0
    for name in sorted(costs, key=lambda name: (costs[name], -accuracies[name], name)):
        if accuracies[name] > best:
            chosen.append(name)
            best = accuracies[name]
    return tuple(chosen)


def choose(
    costs: Mapping[str, float], accuracies: Mapping[str, float], *, always: Sequence[str], most: int
) -> tuple[str, ...]:
    """At most ``most`` configurations, cheapest first: those in ``always``, and of the front those that with them
    cover the largest area under accuracy over cost, between the cheapest and the dearest.
    """
    kept = tuple(dict.fromkeys(always))
    others = [name for name in front(costs, accuracies) if name not in kept]
    room = max(0, min(most - len(kept), len(others)))
    end = max(costs.values())

    def covered(extra: Sequence[str]) -> float:
        chosen = sorted((*kept, *extra), key=lambda name: costs[name])
        area, best, at = 0.0, 0.0, min(costs.values())
        for name in chosen:
            area += best * (costs[name] - at)
            at, best = costs[name], max(best, accuracies[name])
        return area + best * (end - at)

    extra = max(itertools.combinations(others, room), key=covered)
    return tuple(sorted((*kept, *extra), key=lambda name: (costs[name], name)))
