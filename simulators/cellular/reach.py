"""Round trip of a probe that the network sends to a device that has been silent for a while.

    connected   base                                 gap < DRX timer
    DRX         base + U(0, DRX cycle)               gap < release
    idle        base + U(0, paging cycle) + promotion

The base is a log-normal through a published median and 5th and 95th percentile, one sigma for each side of the median.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.cellular.handover import Z95


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a probe meets; cycles and base in ms, times since the last data in s."""

    p5_ms: float
    p50_ms: float
    p95_ms: float
    drx_after_s: float
    drx_cycle_ms: float
    released_after_s: float
    paging_cycle_ms: float
    promotion_ms: float

    def __post_init__(self) -> None:
        if not 0 < self.p5_ms < self.p50_ms < self.p95_ms < math.inf:
            raise ValueError(f"percentiles {self.p5_ms}, {self.p50_ms}, {self.p95_ms} ms must rise from above 0")
        if not 0 <= self.drx_after_s <= self.released_after_s:
            raise ValueError(f"DRX after {self.drx_after_s} s must come before release at {self.released_after_s} s")
        for name in ("drx_cycle_ms", "paging_cycle_ms", "promotion_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} of {getattr(self, name)} ms must be finite and at least 0")

    def round_trip_ms(
        self, gap_s: NDArray[np.float64], normal: NDArray[np.float64], uniform: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Round trips after gaps, by a standard normal and a uniform each."""
        above, below = math.log(self.p95_ms / self.p50_ms), math.log(self.p50_ms / self.p5_ms)
        base = self.p50_ms * np.exp(normal * np.where(normal > 0, above, below) / Z95)
        drx = uniform * self.drx_cycle_ms
        idle = uniform * self.paging_cycle_ms + self.promotion_ms
        late = np.where(gap_s < self.released_after_s, drx, idle)
        return np.asarray(base + np.where(gap_s < self.drx_after_s, 0.0, late))


T_MOBILE_SA = Reach(
    p5_ms=66.0,
    p50_ms=83.0,
    p95_ms=125.0,
    drx_after_s=2.0,
    drx_cycle_ms=40.0,
    released_after_s=10.2,
    paging_cycle_ms=1280.0,
    promotion_ms=200.0,
)
VERIZON_NSA = Reach(
    p5_ms=53.0,
    p50_ms=90.0,
    p95_ms=134.0,
    drx_after_s=2.0,
    drx_cycle_ms=40.0,
    released_after_s=10.2,
    paging_cycle_ms=1280.0,
    promotion_ms=200.0,
)
VERIZON_LTE = Reach(
    p5_ms=64.0,
    p50_ms=188.0,
    p95_ms=370.0,
    drx_after_s=2.0,
    drx_cycle_ms=40.0,
    released_after_s=10.2,
    paging_cycle_ms=1280.0,
    promotion_ms=200.0,
)
T_MOBILE_LTE = Reach(
    p5_ms=69.0,
    p50_ms=120.0,
    p95_ms=252.0,
    drx_after_s=2.0,
    drx_cycle_ms=40.0,
    released_after_s=5.0,
    paging_cycle_ms=1280.0,
    promotion_ms=200.0,
)
"""Bases and release times from the traces of Narayanan et al., SIGCOMM 2021; the paging cycle is the usual 1.28 s; the
promotion, one for all, is what makes the four idle medians fit; the DRX cycle is an estimate."""
