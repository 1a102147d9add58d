"""A battery: charge, voltage, what it loses by itself, and when it can no longer carry its load.

Charge is counted, in mAh. A load behind a linear regulator draws the current of its board whatever the voltage is, so
within a stretch of constant net current I (load less harvest) and self-discharge at a rate k of what is left,

    dq/dt = -(I + k q)    =>    q(t) = q0 e^(-k t) + I (e^(-k t) - 1) / k        exactly, whatever the step,

cut off at empty and full. The voltage at the terminals is that of the curve at the charge left, less I_load R. It is
too low when that falls below ``cutoff_v``; the board comes back when, without load, ``recover_v`` is reached.

All functions take numbers or arrays that broadcast, one entry a device, and give the same for both. What cold takes of
a battery, its age, and what recovers of it at rest are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.registry import Registry

Floats = NDArray[np.float64]

HOUR_S = 3600.0
YEAR_H = 365.25 * 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """``curve``: (share of the charge left, open-circuit volts), both rising from share 0 to share 1.

    ``self_discharge``: share of what is left that is gone after a year without load. ``source``: where this is from.
    """

    capacity_mah: float
    curve: tuple[tuple[float, float], ...]
    resistance_ohm: float = 0.0
    self_discharge: float = 0.0
    cutoff_v: float = 0.0
    recover_v: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        require_finite(
            capacity_mah=self.capacity_mah,
            resistance_ohm=self.resistance_ohm,
            self_discharge=self.self_discharge,
            cutoff_v=self.cutoff_v,
            recover_v=self.recover_v,
        )
        require(self.capacity_mah > 0, "capacity_mah", f"must be above 0, got {self.capacity_mah}")
        require(self.resistance_ohm >= 0, "resistance_ohm", "must not be negative")
        require(0 <= self.self_discharge < 1, "self_discharge", f"must be in [0, 1), got {self.self_discharge}")
        shares, volts = [list(column) for column in zip(*self.curve, strict=True)] if self.curve else ([], [])
        require(len(shares) > 1 and shares[0] == 0 and shares[-1] == 1, "curve", "must run from share 0 to share 1")
        require(shares == sorted(set(shares)) and volts == sorted(set(volts)), "curve", "shares and volts must rise")
        require(self.cutoff_v <= self.recover_v, "recover_v", "must not be below cutoff_v")
        require(self.recover_v <= volts[-1], "recover_v", f"a full battery has {volts[-1]:g} V only")

    @property
    def rate_per_h(self) -> float:
        """k of the formula above, 1/h."""
        return float(-np.log1p(-self.self_discharge) / YEAR_H)

    def charge_after(self, charge_mah: ArrayLike, net_ma: ArrayLike, seconds: ArrayLike) -> Floats:
        """Charge after a stretch of constant net current (above 0: it discharges), mAh."""
        hours = np.asarray(seconds, dtype=np.float64) / HOUR_S
        charge, net, k = np.asarray(charge_mah, np.float64), np.asarray(net_ma, np.float64), self.rate_per_h
        left = charge - net * hours if k == 0 else charge * np.exp(-k * hours) + net * np.expm1(-k * hours) / k
        return np.asarray(np.clip(left, 0.0, self.capacity_mah))

    def volts(self, charge_mah: ArrayLike, load_ma: ArrayLike) -> Floats:
        """At the terminals, under a load."""
        shares, volts = zip(*self.curve, strict=True)
        open_v = np.interp(np.asarray(charge_mah) / self.capacity_mah, shares, volts)
        return np.asarray(open_v - np.asarray(load_ma) * 1e-3 * self.resistance_ohm)

    def charge_at(self, open_v: ArrayLike) -> Floats:
        """Charge at an open-circuit voltage: 0 at and below that of an empty battery, infinite above a full one's."""
        shares, volts = zip(*self.curve, strict=True)
        asked = np.asarray(open_v, dtype=np.float64)
        charge = np.interp(asked, volts, shares) * self.capacity_mah
        return np.asarray(np.where(asked > volts[-1], np.inf, charge))

    def least_mah(self, load_ma: ArrayLike) -> Floats:
        """Charge at which a load can no longer be carried."""
        return self.charge_at(self.cutoff_v + np.asarray(load_ma) * 1e-3 * self.resistance_ohm)

    def seconds_to(self, charge_mah: ArrayLike, target_mah: ArrayLike, net_ma: ArrayLike) -> Floats:
        """Time until a constant net current has brought the charge to a target; infinite when it never does."""
        charge, target = np.asarray(charge_mah, np.float64), np.asarray(target_mah, np.float64)
        net, k = np.asarray(net_ma, np.float64), self.rate_per_h
        with np.errstate(divide="ignore", invalid="ignore"):
            hours = (charge - target) / net if k == 0 else np.log1p(k * (charge - target) / (net + k * target)) / k
        hours = np.where(charge == target, 0.0, hours)
        reached = np.isfinite(hours) & (hours >= 0) & (target <= self.capacity_mah)
        return np.asarray(np.where(reached, hours * HOUR_S, np.inf))

    def life_s(self, load_ma: ArrayLike) -> Floats:
        """How long a full battery carries a constant load, in closed form."""
        least = self.least_mah(load_ma)
        lasts = self.seconds_to(self.capacity_mah, least, load_ma)
        return np.asarray(np.where(least >= self.capacity_mah, 0.0, lasts))


batteries: Registry[Battery] = Registry("batteries", noun="battery")
batteries.register("li-socl2-aa")(
    Battery(
        capacity_mah=2600.0,
        curve=((0.0, 2.0), (0.03, 3.2), (0.1, 3.55), (1.0, 3.67)),
        resistance_ohm=10.0,
        self_discharge=0.01,
        cutoff_v=2.2,
        recover_v=2.4,
        source="Saft LS 14500 data sheet, from memory: 2.6 Ah at 2 mA to 2.0 V, 3.67 V open, under 1 % a year at 20 C; "
        "resistance and shape of the curve are estimates",
    )
)
batteries.register("li-ion-18650")(
    Battery(
        capacity_mah=2500.0,
        curve=((0.0, 3.0), (0.1, 3.45), (0.3, 3.6), (0.6, 3.8), (0.9, 4.08), (1.0, 4.2)),
        resistance_ohm=0.05,
        self_discharge=0.2,
        cutoff_v=3.3,
        recover_v=3.5,
        source="estimate: a 2.5 Ah cell at rest, of the shape that lithium cobalt and nickel cells share; 2 % a month",
    )
)
