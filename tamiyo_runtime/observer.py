"""Turns what the runtime knows of the bundle and the board into the state that the policy sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Runnable, SegmentKind, Variant
from tamiyo_runtime.contracts.running import RunningState
from tamiyo_runtime.governor import SKIP, Limits
from tamiyo_runtime.options import is_subset

Gates = tuple[bool, ...]


class Observer:
    """Everything about a bundle that does not change while it runs, worked out once.

    What a seed is worth and what it costs follow from the table of configurations: from two that differ in this seed
    alone, the larger ones first; where no such two were exported, from the two that differ in fewest seeds, each of
    which is then taken for an equal part. A seed that no configuration leaves out, or that none has, gives 0.
    """

    def __init__(self, manifest: Manifest, variant: Variant, *, period_s: float) -> None:
        self._variant = variant
        self._period_ms = period_s * 1e3
        self._profile = dict(manifest.profile.features)
        self._gates = {item.id: item.gates for item in manifest.configurations}
        by_gates = {self._gates[item.configuration]: item for item in variant.runnables}
        slots = manifest.plan.slots
        seeds = {segment.slot: segment for segment in manifest.plan.segments if segment.slot is not None}
        host = [segment for segment in manifest.plan.segments if segment.kind is not SegmentKind.SEED]
        host_params = sum(segment.params for segment in host)
        host_macs = sum(segment.macs for segment in host)
        pairs = [_pair(by_gates, slot) for slot in range(slots)]
        self._present = tuple(slot in seeds for slot in range(slots))
        self._params = tuple(_share(seeds[s].params if s in seeds else 0, host_params) for s in range(slots))
        self._macs = tuple(_share(seeds[s].macs if s in seeds else 0, host_macs) for s in range(slots))
        self._latency = tuple(_gain(pair, lambda item: item.cost.latency_ms.value) for pair in pairs)
        self._worth = tuple(_gain(pair, lambda item: item.accuracy) for pair in pairs)
        self._bare, self._full = variant.runnables[0], variant.runnables[-1]

    @property
    def present(self) -> Gates:
        """Which slots hold a seed."""
        return self._present

    def state(
        self, *, current: int, limits: Limits, slowdown: float, bucket_level: float, link_level: float
    ) -> RunningState:
        """The state now; ``current`` is the option in use, SKIP for none, which counts as the bare host."""
        runnable = self._variant.runnables[max(current, 0)]
        gates = self._gates[runnable.configuration] if current != SKIP else (False,) * len(self._present)
        return RunningState(
            present=self._present,
            on=tuple(gate and present for gate, present in zip(gates, self._present, strict=True)),
            contributions=self._worth,
            relative_params=self._params,
            relative_macs=self._macs,
            seed_latency_ms=self._latency,
            host_latency_ms=self._bare.cost.latency_ms.value,
            full_latency_ms=self._full.cost.latency_ms.value,
            current_latency_ms=runnable.cost.latency_ms.value,
            deadline_ms=limits.deadline_ms if math.isfinite(limits.deadline_ms) else None,
            slowdown=slowdown,
            bucket_level=bucket_level,
            power_budget_mw=limits.power_mw or None,
            host_power_mw=self._power_mw(self._bare),
            full_power_mw=self._power_mw(self._full),
            link_level=min(1.0, max(0.0, link_level)),
            accuracy=runnable.accuracy,
            profile=self._profile,
        )

    def _power_mw(self, runnable: Runnable) -> float:
        """Mean power at the sample rate: uJ / ms. Back to back, that is power while computing."""
        busy_ms = runnable.cost.latency_ms.value
        period_ms = max(self._period_ms, busy_ms)
        return runnable.cost.energy_uj.value / period_ms if period_ms > 0 else 0.0


class _Pair(NamedTuple):
    """Two runnables, the second one without ``seeds`` of the first one's."""

    with_it: Runnable
    without: Runnable
    seeds: int


def _pair(by_gates: Mapping[Gates, Runnable], slot: int) -> _Pair | None:
    """The two that tell most of the seed in a slot: they differ in as few seeds as can be, and are as large."""
    pairs = [
        (sum(gates) - sum(fewer), -sum(gates), gates, fewer)
        for gates in by_gates
        for fewer in by_gates
        if gates[slot] and not fewer[slot] and is_subset(fewer, gates)
    ]
    if not pairs:
        return None
    seeds, _, gates, fewer = min(pairs)
    return _Pair(by_gates[gates], by_gates[fewer], seeds)


def _gain(pair: _Pair | None, figure: Callable[[Runnable], float | None]) -> float:
    if pair is None:
        return 0.0
    with_it, without = figure(pair.with_it), figure(pair.without)
    return 0.0 if with_it is None or without is None else float(with_it - without) / pair.seeds


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
