"""Many `RunningState`s as arrays, and all their observation vectors at once.

The runtime builds one vector from one state; teaching needs a hundred thousand of them. `RunningStates.matrix` is
`running_vector` over arrays, row by row the same numbers, and `state` gives a row back as what the runtime's observer
makes. A test holds the two together, whatever the states are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.features import GLOBAL, RATIO_LIMIT, SLOT, Feature
from tamiyo_runtime.contracts.running import PROFILE_FEATURES, RunningState

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStates:
    """Fields as those of `RunningState`, (lanes,) or (lanes, slots) each; ``profile`` (lanes, PROFILE_FEATURES).

    An infinite deadline stands for none, a power budget of 0 for none, NaN for an accuracy that was not measured.
    """

    present: Bools
    on: Bools
    contributions: Floats
    relative_params: Floats
    relative_macs: Floats
    seed_latency_ms: Floats
    host_latency_ms: Floats
    full_latency_ms: Floats
    current_latency_ms: Floats
    deadline_ms: Floats
    slowdown: Floats
    bucket_level: Floats
    power_budget_mw: Floats
    host_power_mw: Floats
    full_power_mw: Floats
    link_level: Floats
    accuracy: Floats
    profile: Floats

    def __len__(self) -> int:
        return len(self.present)

    def state(self, lane: int) -> RunningState:
        """One lane's state, as the runtime's observer makes it."""
        deadline, budget = float(self.deadline_ms[lane]), float(self.power_budget_mw[lane])
        accuracy = float(self.accuracy[lane])
        return RunningState(
            present=tuple(self.present[lane].tolist()),
            on=tuple(self.on[lane].tolist()),
            contributions=tuple(self.contributions[lane].tolist()),
            relative_params=tuple(self.relative_params[lane].tolist()),
            relative_macs=tuple(self.relative_macs[lane].tolist()),
            seed_latency_ms=tuple(self.seed_latency_ms[lane].tolist()),
            host_latency_ms=float(self.host_latency_ms[lane]),
            full_latency_ms=float(self.full_latency_ms[lane]),
            current_latency_ms=float(self.current_latency_ms[lane]),
            deadline_ms=deadline if math.isfinite(deadline) else None,
            slowdown=float(self.slowdown[lane]),
            bucket_level=float(self.bucket_level[lane]),
            power_budget_mw=budget or None,
            host_power_mw=float(self.host_power_mw[lane]),
            full_power_mw=float(self.full_power_mw[lane]),
            link_level=float(self.link_level[lane]),
            accuracy=None if math.isnan(accuracy) else accuracy,
            profile=dict(zip(PROFILE_FEATURES, self.profile[lane].tolist(), strict=True)),
        )

    def widened(self, slots: int) -> RunningStates:
        """The same devices with so many slots: those they have, then empty ones."""
        missing = slots - self.present.shape[1]
        wide = {f.name: value for f in fields(self) if (value := getattr(self, f.name)).shape == self.present.shape}
        return replace(self, **{name: np.pad(value, ((0, 0), (0, missing))) for name, value in wide.items()})

    def matrix(self) -> NDArray[np.float32]:
        """Observation vectors, (lanes, observation) float32: row by row what `running_vector` gives."""
        lanes, slots = self.present.shape
        result = np.zeros((lanes, len(GLOBAL) + slots * len(SLOT)), dtype=np.float32)
        _fill(result[:, : len(GLOBAL)], GLOBAL, self._globals())
        _fill(result[:, len(GLOBAL) :].reshape(lanes, slots, len(SLOT)), SLOT, self._slots())
        return result

    def _globals(self) -> Mapping[str, Floats]:
        slowdown, deadline, budget = self.slowdown, self.deadline_ms, self.power_budget_mw
        return {
            "running": np.ones(len(self)),
            "latency_left": 1.0 - _ratio(self.current_latency_ms * slowdown, deadline),
            "energy_left": self.bucket_level,
            "throttle_log2": np.log2(np.clip(slowdown, 1 / RATIO_LIMIT, RATIO_LIMIT)),
            "full_latency_ratio": _ratio(self.full_latency_ms * slowdown, deadline),
            "host_latency_ratio": _ratio(self.host_latency_ms * slowdown, deadline),
            "full_power_ratio": _ratio(self.full_power_mw * slowdown, np.where(budget > 0, budget, np.inf)),
            "host_power_ratio": _ratio(self.host_power_mw * slowdown, np.where(budget > 0, budget, np.inf)),
            "link_level": self.link_level,
            "accuracy": np.nan_to_num(self.accuracy),
            **{name: self.profile[:, index] for index, name in enumerate(PROFILE_FEATURES)},
        }

    def _slots(self) -> Mapping[str, Floats]:
        present, slots = self.present, self.present.shape[1]
        own_ms = np.where(present, self.seed_latency_ms, 0.0)
        without_ms = self.current_latency_ms[:, None] - np.where(self.on & present, own_ms, 0.0)
        deadline, slowdown = self.deadline_ms[:, None], self.slowdown[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            account = deadline - without_ms * slowdown
            left = np.clip((deadline - (without_ms + own_ms) * slowdown) / account, 0.0, 1.0)
        budget_left = np.where(np.isinf(deadline), 1.0, np.where(account > 0, left, 0.0))
        return {
            "is_free": (~present).astype(np.float64),
            "is_fossilised": present.astype(np.float64),
            "alpha": (self.on & present).astype(np.float64),
            "contribution": np.where(present, self.contributions, 0.0),
            "relative_params": np.where(present, self.relative_params, 0.0),
            "relative_macs": np.where(present, self.relative_macs, 0.0),
            "relative_latency": _ratio(own_ms * slowdown, deadline),
            "budget_left": budget_left,
            "depth": np.broadcast_to(np.arange(slots) / max(1, slots - 1), present.shape),
        }


def _fill(target: NDArray[np.float32], table: tuple[Feature, ...], values: Mapping[str, Floats]) -> None:
    for index, feature in enumerate(table):
        if feature.name in values:
            target[..., index] = np.clip(values[feature.name], feature.low, feature.high)


def _ratio(used: Floats, limit: Floats) -> Floats:
    """Used over limit, at most RATIO_LIMIT; 0 where there is no limit."""
    return np.minimum(used / limit, RATIO_LIMIT)
