"""Faults of fleets: whom a fault strikes, and the values it gives each of those.

A scenario says ``kind, devices, share, at_h, for_h``; who is struck is drawn at (seed, device, number of the fault), so
it is the same whatever the batches are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulators.faults.clock import CURVATURE_PPM_PER_K2, TURNOVER_C
from simulators.faults.kinds import Order, make_fault
from simulators.lorawan.streams import Purpose, normals, uniforms
from tamiyo_runtime.contracts.document import require, require_finite

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFault:
    """A fault of a share of the devices. ``number`` tells two faults of one scenario apart. ``for_h`` is finite."""

    kind: str
    share: float
    at_h: float
    for_h: float
    number: int = 0
    options: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_finite(share=self.share, at_h=self.at_h, for_h=self.for_h)
        require(0 <= self.share <= 1, "share", f"must be in [0, 1], got {self.share}")
        require(self.at_h >= 0 and self.for_h >= 0, "at_h", "times must not be negative")
        if self.kind == "brown-out":
            make_fault(self.order)  # what the options say is checked now, and once

    @property
    def order(self) -> Order:
        """The same for one board."""
        return Order(kind=self.kind, at_s=self.at_h * 3600, for_s=self.for_h * 3600, options=self.options)

    def struck(self, seed: int, devices: ArrayLike) -> Bools:
        """Which of these devices, by number."""
        drawn, _ = uniforms(seed, Purpose.FAULT, devices, self.number)
        return np.asarray(drawn < self.share)

    def off(self, seed: int, devices: ArrayLike, now_s: ArrayLike) -> Bools:
        """Whether devices are without power at these times, or without their sensor: struck, and within its time."""
        times, start_s = np.asarray(now_s), self.at_h * 3600
        return np.asarray(self.struck(seed, devices) & (times >= start_s) & (times < start_s + self.for_h * 3600))


def drifts_ppm(seed: int, devices: ArrayLike, *, sigma_ppm: float, temperature_c: ArrayLike = TURNOVER_C) -> Floats:
    """What each device's clock gains: a crystal's own tolerance, normal, and the parabola of its temperature."""
    require(sigma_ppm >= 0, "sigma_ppm", f"must not be negative, got {sigma_ppm}")
    own = sigma_ppm * normals(seed, Purpose.FAULT, devices, 0, salt=1)
    return np.asarray(own + CURVATURE_PPM_PER_K2 * (np.asarray(temperature_c) - TURNOVER_C) ** 2)
