"""Which cover of the network to compile: one graph a piece, one graph a configuration, or pieces with seeds grouped.

A graph a piece holds every weight once and runs every subset of the seeds, but each boundary costs an invocation. A
graph a configuration has no boundary and holds the trunk as often as there are configurations. Between the two, a seed
that saves less than its boundaries cost is joined with a neighbour: they switch together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.cover import dear
from exporters import pareto
from exporters.grouping import Groups
from tamiyo_runtime.contracts.plan import Layout
from tamiyo_runtime.contracts.units import milliseconds, percent, size

BOUNDARIES_A_SEED = 2
"""What a seed of its own adds to the chain that runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the choice depends on. Latencies in ms; bytes are of weights.

    ``asked``: the profile's word, ``auto``, ``segments`` or ``whole``. ``full_ms``: all seeds in one graph;
    ``boundary_ms``: one graph invocation more; ``seeds_ms``: what each seed computes, by slot; ``whole_ms`` and
    ``accuracy`` by configuration, ``host`` and ``full`` among them. ``memory_bytes``: what one variant loads for a
    configuration of its own graph; ``file_bytes``: what all variants add to the bundle for it.
    """

    asked: str
    full_ms: float
    boundary_ms: float
    boundaries: int
    seeds_ms: Mapping[int, float]
    whole_ms: Mapping[str, float]
    accuracy: Mapping[str, float]
    host: str
    full: str
    most_wholes: int
    memory_bytes: Mapping[str, int]
    memory_limit_bytes: int | None
    file_bytes: Mapping[str, int]
    file_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How TFLite variants are laid out, which configurations get a graph of their own, and why in words."""

    layout: Layout
    groups: Groups
    wholes: tuple[str, ...]
    reason: str


def choose(facts: Facts) -> Choice:
    """The cover for these facts; pure.

    Where boundaries cost more than 5 % of the full network, whole configurations, if they fit: all of them, or the
    best few of the front of accuracy against latency. Accuracy here is torch's on the test set, the only labelled data
    there is: that of those few is a little flattering; host and full are never chosen by it.
    """
    alone = tuple((slot,) for slot in sorted(facts.seeds_ms))
    cost_ms = facts.boundaries * facts.boundary_ms
    bill = f"{_boundaries(facts.boundaries)} would add {milliseconds(cost_ms)} to {milliseconds(facts.full_ms)}"
    if facts.asked == "segments":
        return Choice(layout=Layout.SEGMENTS, groups=alone, wholes=(), reason=f"segments, as the profile says: {bill}")
    wholes = _wholes(facts)
    if facts.asked == "whole":
        return Choice(layout=Layout.WHOLE, groups=alone, wholes=wholes, reason=f"whole, as the profile says: {bill}")
    if not facts.seeds_ms:
        return Choice(layout=Layout.SEGMENTS, groups=(), wholes=(), reason="one graph: there is nothing to switch")
    problem = _too_big(facts, wholes) if dear(cost_ms, facts.full_ms) else percent(cost_ms / facts.full_ms)
    if problem is None:
        kept = "" if len(wholes) == len(facts.whole_ms) else f"; {len(wholes)} of {len(facts.whole_ms)} configurations"
        return Choice(layout=Layout.WHOLE, groups=alone, wholes=wholes, reason=f"whole: {bill}{kept}")
    groups = grouping(facts.seeds_ms, BOUNDARIES_A_SEED * facts.boundary_ms)
    reason = f"segments: {bill}, {problem}"
    together = [group for group in groups if len(group) > 1]
    if together:
        names = ", ".join(" + ".join(f"slot {slot}" for slot in group) for group in together)
        reason += f"; too small to switch alone, so together: {names}"
    return Choice(layout=Layout.SEGMENTS, groups=groups, wholes=(), reason=reason)


def grouping(seeds_ms: Mapping[int, float], least_ms: float) -> Groups:
    """Neighbouring seeds joined until each group computes for at least ``least_ms``, or all are one group.

    The smallest is joined first, with the smaller of its neighbours.
    """
    groups: list[tuple[int, ...]] = [(slot,) for slot in sorted(seeds_ms)]

    def worth(group: tuple[int, ...]) -> float:
        return sum(seeds_ms[slot] for slot in group)

    while len(groups) > 1:
        small = min(range(len(groups)), key=lambda at: (worth(groups[at]), at))
        if worth(groups[small]) >= least_ms:
            break
        near = [at for at in (small - 1, small + 1) if 0 <= at < len(groups)]
        first = min(small, min(near, key=lambda at: (worth(groups[at]), at)))
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
    return tuple(groups)


def _wholes(facts: Facts) -> tuple[str, ...]:
    if len(facts.whole_ms) <= facts.most_wholes:
        return tuple(facts.whole_ms)
    return pareto.choose(facts.whole_ms, facts.accuracy, always=(facts.host, facts.full), most=facts.most_wholes)


def _too_big(facts: Facts, wholes: tuple[str, ...]) -> str | None:
    """Why so many whole graphs cannot be had, or None when they can."""
    memory, files = sum(facts.memory_bytes[name] for name in wholes), sum(facts.file_bytes[name] for name in wholes)
    room, most = facts.memory_limit_bytes, facts.file_limit_bytes
    what = f"but {len(wholes)} whole graphs would"
    if room is not None and memory > room:
        return f"{what} take {size(memory)} of {size(room)} of memory"
    return f"{what} make files of {size(files)}, at most {size(most)}" if files > most else None


def _boundaries(count: int) -> str:
    return f"{count} boundar{'y' if count == 1 else 'ies'}"
