"""Battery and harvest over time, with brown-outs: the same for one board and for a fleet.

A board that is on draws its load until the voltage breaks down, then nothing (``off_ma``) until the open voltage has
recovered. Both moments are worked out within a stretch of constant currents, not looked for step by step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulators.battery import Battery
from simulators.harvest import NONE, Harvest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_MOST_TURNS = 1000
"""Changes between on and off within one stretch, after which a device is left as it is: chatter is not resolved."""


class Charged(NamedTuple):
    """Charge in mAh, and whether the device is on, (devices,) each."""

    charge_mah: Floats
    on: Bools


def full(battery: Battery, devices: int, *, share: float = 1.0) -> Charged:
    """Devices that are on, with so much of the capacity."""
    return Charged(np.full(devices, battery.capacity_mah * share), np.ones(devices, dtype=np.bool_))


def after(
    battery: Battery,
    state: Charged,
    seconds: ArrayLike,
    *,
    load_ma: ArrayLike,
    harvest_ma: ArrayLike,
    off_ma: float = 0.0,
) -> tuple[Charged, Floats]:
    """State after a stretch of constant currents, and the seconds of it that each device was on."""
    charge, on = state.charge_mah.copy(), state.on.copy()
    load, harvest = np.broadcast_to(load_ma, charge.shape), np.broadcast_to(harvest_ma, charge.shape)
    left, was_on = np.array(np.broadcast_to(seconds, charge.shape), dtype=np.float64), np.zeros(charge.shape)
    least, most = battery.least_mah(load), float(battery.charge_at(battery.recover_v))
    for _ in range(_MOST_TURNS):
        net = np.where(on, load, off_ma) - harvest
        breaks = np.where(charge <= least, 0.0, battery.seconds_to(charge, least, net))
        returns = np.where(charge >= most, 0.0, battery.seconds_to(charge, most, net))
        turn = np.where(on, breaks, returns)
        turn = np.where(~on & (most <= least), np.inf, turn)  # it would break down as it comes back
        step = np.minimum(left, turn)
        charge = battery.charge_after(charge, net, step)
        was_on += np.where(on, step, 0.0)
        turned = turn < left
        charge = np.where(turned, np.where(on, np.minimum(charge, least), np.maximum(charge, most)), charge)
        left, on = left - step, on ^ turned
        if not turned.any():
            break
    return Charged(charge, on), was_on


def follow(
    battery: Battery,
    state: Charged,
    start_s: float,
    end_s: float,
    *,
    devices: ArrayLike,
    load_ma: ArrayLike,
    harvest: Harvest = NONE,
    off_ma: float = 0.0,
) -> tuple[Charged, Floats]:
    """State at ``end_s``, the harvest taken segment by segment, and the seconds that each device was on.

    ``devices``: their numbers, which random numbers are drawn at.
    """
    was_on, now_s = np.zeros(state.charge_mah.shape), start_s
    while now_s < end_s:
        until_s = end_s
        if np.isfinite(harvest.segment_s):
            until_s = min(end_s, (now_s // harvest.segment_s + 1) * harvest.segment_s)
        current = harvest.mean_ma(devices, now_s, until_s)
        state, on_s = after(battery, state, until_s - now_s, load_ma=load_ma, harvest_ma=current, off_ma=off_ma)
        was_on, now_s = was_on + on_s, until_s
    return state, was_on
