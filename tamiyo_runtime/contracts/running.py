"""What the policy sees on a running device: one builder, used by the runtime and by the training of the gate head.

Training and the runtime must not disagree on a single feature, so both fill in a `RunningState` and call
`running_vector`. All latencies and powers are given at the board's *rated* speed; the builder scales them by the
present slowdown, since a throttled board takes that much longer, and spends that much more energy, on the same work.

Ratios are clipped to ``RATIO_LIMIT``: beyond it "far too much" says all there is to say. Without a deadline or a
power budget the ratios that need one are 0, i.e. nothing is used of it, and what is left of it is 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.features import RATIO_LIMIT
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, observe, unspent

PROFILE_FEATURES: tuple[str, ...] = tuple(name for name in GLOBAL_FEATURES if name.startswith("profile_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningState:
    """A device between two inferences. Per-slot tuples have one entry a slot, filled or not.

    ``present``: the slot holds a seed that can be switched on; ``on``: it is switched on. ``contributions``:
    accuracy of the full network minus that without the seed, fraction. ``relative_params`` and ``relative_macs``:
    seed's over bare host's. ``seed_latency_ms``: rated latency the seed adds. ``host_``, ``full_`` and
    ``current_latency_ms``: rated latency of the bare host, of the largest configuration and of the one in use.
    ``slowdown``: multiplier of rated latency at present (1 = rated speed). ``bucket_level``: fill of the energy
    bucket, 0..1 (1 without a budget), or of the battery where that is less. ``host_power_mw`` and ``full_power_mw``:
    mean power the inferences of that configuration would draw at the present sample rate and rated speed (energy of
    one inference in uJ times samples a ms). ``link_level``: share of the link's credit left (1 on a link without a
    limit). ``accuracy``: measured accuracy of the configuration in use, None when it was not measured. ``profile``: the
    snapshot's features; those the policy does not know are left out.
    """

    present: tuple[bool, ...]
    on: tuple[bool, ...]
    contributions: tuple[float, ...]
    relative_params: tuple[float, ...]
    relative_macs: tuple[float, ...]
    seed_latency_ms: tuple[float, ...]
    host_latency_ms: float
    full_latency_ms: float
    current_latency_ms: float
    deadline_ms: float | None
    slowdown: float = 1.0
    bucket_level: float = 1.0
    power_budget_mw: float | None = None
    host_power_mw: float = 0.0
    full_power_mw: float = 0.0
    link_level: float = 1.0
    accuracy: float | None = None
    profile: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = len(self.present)
        for name in ("on", "contributions", "relative_params", "relative_macs", "seed_latency_ms"):
            require(len(getattr(self, name)) == slots, name, f"needs one entry for each of the {slots} slots")
        for name in ("contributions", "relative_params", "relative_macs", "seed_latency_ms"):
            require(all(map(math.isfinite, getattr(self, name))), name, "must be finite")
        for name in ("host_latency_ms", "full_latency_ms", "current_latency_ms", "host_power_mw", "full_power_mw"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value >= 0, name, f"must not be negative, got {value}")
        for name in ("deadline_ms", "power_budget_mw", "slowdown"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value is None or value > 0, name, f"must be above 0, got {value}")
        for name in ("bucket_level", "link_level", "accuracy"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= 1, name, f"must be in [0, 1], got {value}")
        require(
            all(present or not on for present, on in zip(self.present, self.on, strict=True)),
            "on",
            "a slot without a seed cannot be switched on",
        )

    @property
    def slots(self) -> int:
        """Number of slots, filled or not."""
        return len(self.present)


def running_features(state: RunningState) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Global features and one mapping a slot, as `observe` takes them; what has no meaning on a device is left out."""
    features = {
        "running": 1.0,
        "latency_left": 1.0 - _ratio(state.current_latency_ms * state.slowdown, state.deadline_ms),
        "energy_left": state.bucket_level,
        "throttle_log2": math.log2(min(max(state.slowdown, 1 / RATIO_LIMIT), RATIO_LIMIT)),
        "full_latency_ratio": _ratio(state.full_latency_ms * state.slowdown, state.deadline_ms),
        "host_latency_ratio": _ratio(state.host_latency_ms * state.slowdown, state.deadline_ms),
        "full_power_ratio": _ratio(state.full_power_mw * state.slowdown, state.power_budget_mw),
        "host_power_ratio": _ratio(state.host_power_mw * state.slowdown, state.power_budget_mw),
        "link_level": state.link_level,
    }
    if state.accuracy is not None:
        features["accuracy"] = state.accuracy
    features.update({name: state.profile[name] for name in PROFILE_FEATURES if name in state.profile})
    return features, [_slot(state, index) for index in range(state.slots)]


def running_vector(state: RunningState) -> list[float]:
    """The observation vector of a running device, ``observation_size(slots)`` long."""
    return observe(*running_features(state))


def _slot(state: RunningState, index: int) -> dict[str, float]:
    depth = index / max(1, state.slots - 1)
    if not state.present[index]:
        return {"is_free": 1.0, "budget_left": _budget_left(state, 0.0, on=False), "depth": depth}
    latency_ms = state.seed_latency_ms[index]
    return {
        "is_fossilised": 1.0,
        "alpha": float(state.on[index]),
        "contribution": state.contributions[index],
        "relative_params": state.relative_params[index],
        "relative_macs": state.relative_macs[index],
        "relative_latency": _ratio(latency_ms * state.slowdown, state.deadline_ms),
        "budget_left": _budget_left(state, latency_ms, on=state.on[index]),
        "depth": depth,
    }


def _budget_left(state: RunningState, own_ms: float, *, on: bool) -> float:
    """Of the time all else leaves until the deadline, the share left with this slot's seed switched on."""
    if state.deadline_ms is None:
        return 1.0
    without_ms = state.current_latency_ms - (own_ms if on else 0.0)
    return unspent(
        state.deadline_ms, without=without_ms * state.slowdown, with_seed=(without_ms + own_ms) * state.slowdown
    )


def _ratio(used: float, limit: float | None) -> float:
    return 0.0 if limit is None else min(used / limit, RATIO_LIMIT)
