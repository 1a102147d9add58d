"""What does not change while devices run: their options, limits, boards and links, as arrays over lanes.

A lane is one device. Its options are sorted as those of the runtime are, cheapest first; a lane with fewer than the
widest has its last ones marked as absent. `tables_of` makes one lane of a bundle with the runtime's own `Options`,
`Observer` and `Limits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Variant
from tamiyo_runtime.contracts.running import PROFILE_FEATURES
from tamiyo_runtime.governor import SKIP, Limits
from tamiyo_runtime.observer import Observer
from tamiyo_runtime.options import Options

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """(lanes, options) unless said otherwise; ``gates`` (lanes, options, slots).

    ``rank``: the more accurate, the higher (`Options.best_first` backwards), below 0 for an option that is absent.
    ``find``: (lanes, 2^slots), the option that stands for a pattern of gates, slot 0 the highest bit. ``floor``,
    ``period_s`` and the limits are (lanes,), infinite where there is none but ``power_mw``, 0.
    """

    gates: Bools
    latency_ms: Floats
    unclocked_ms: Floats
    energy_uj: Floats
    latency_worst_ms: Floats
    energy_worst_uj: Floats
    settled_c: Floats
    fits_memory: Bools
    accuracy: Floats
    rank: Ints
    find: Ints
    floor: Floats
    period_s: Floats
    deadline_ms: Floats
    power_mw: Floats
    burst_uj: Floats
    hot_c: Floats
    limit_c: Floats
    margin: Floats
    dwell_ms: Floats
    reserve_share: Floats
    present: Bools
    contributions: Floats
    relative_params: Floats
    relative_macs: Floats
    seed_latency_ms: Floats
    host_power_mw: Floats
    full_power_mw: Floats
    profile: Floats

    def __len__(self) -> int:
        return len(self.gates)

    @property
    def last(self) -> Ints:
        """The largest option of each lane."""
        return np.asarray((self.rank >= 0).sum(axis=1) - 1)


def joined(tables: Sequence[Tables]) -> Tables:
    """Lanes side by side; all have as many options and slots."""
    names = [item.name for item in fields(Tables)]
    return Tables(**{name: np.concatenate([getattr(one, name) for one in tables]) for name in names})


def tables_of(manifest: Manifest, variant: Variant, limits: Limits, *, period_s: float) -> Tables:
    """One lane: a bundle's variant under limits."""
    options = Options.of(variant.runnables, manifest.configurations, manifest.profile, period_s=period_s)
    observer = Observer(manifest, variant, period_s=period_s)
    state = observer.state(current=SKIP, limits=limits, slowdown=1.0, bucket_level=1.0, link_level=1.0)
    costs = [runnable.cost for runnable in variant.runnables]
    items, slots = options.items, manifest.plan.slots
    rank = np.empty(len(items), dtype=np.int64)
    rank[list(options.best_first)] = np.arange(len(items))[::-1]
    patterns = list(product((False, True), repeat=slots))
    accuracy = [math.nan if item.accuracy is None else item.accuracy for item in items]
    limit = [item.memory_bytes <= limits.memory_bytes for item in items]
    profile = [state.profile.get(name, 0.0) for name in PROFILE_FEATURES]
    return Tables(
        gates=np.array([[item.gates for item in items]]),
        latency_ms=_row(cost.latency_ms.value for cost in costs),
        unclocked_ms=_row(min(cost.unclocked_ms, cost.latency_ms.value) for cost in costs),
        energy_uj=_row(cost.energy_uj.value for cost in costs),
        latency_worst_ms=_row(item.latency_worst_ms for item in items),
        energy_worst_uj=_row(item.energy_worst_uj for item in items),
        settled_c=_row(item.settled_c for item in items),
        fits_memory=np.array([limit]),
        accuracy=_row(accuracy),
        rank=rank[None],
        find=np.array([[options.find(gates)[0] for gates in patterns]]),
        floor=np.array([options.floor]),
        period_s=np.array([period_s]),
        deadline_ms=np.array([limits.deadline_ms]),
        power_mw=np.array([limits.power_mw]),
        burst_uj=np.array([limits.burst_uj]),
        hot_c=np.array([limits.hot_c]),
        limit_c=np.array([limits.limit_c]),
        margin=np.array([limits.margin]),
        dwell_ms=np.array([limits.dwell_ms]),
        reserve_share=np.array([limits.reserve_share]),
        present=np.array([state.present]),
        contributions=_row(state.contributions),
        relative_params=_row(state.relative_params),
        relative_macs=_row(state.relative_macs),
        seed_latency_ms=_row(state.seed_latency_ms),
        host_power_mw=np.array([state.host_power_mw]),
        full_power_mw=np.array([state.full_power_mw]),
        profile=_row(profile),
    )


def _row(values: object) -> Floats:
    return np.array([list(values)], dtype=np.float64)  # type: ignore[call-overload]
