"""What devices spend beside their radio, how long a battery lasts on all of it, and which limits they break."""

from __future__ import annotations

import numpy as np

from simulators import battery as cells
from simulators.fleet.costs import Inference, over_latency, over_power
from simulators.fleet.group import Group
from simulators.fleet.parts import Battery
from simulators.lorawan.streams import Floats, Ints

DAY_S = 86_400.0
BOARD_V = 3.3
"""Supply of boards and radios."""


def inferences(group: Group, active_s: Floats) -> Ints:
    """Inferences done in the time that devices are active."""
    period_s = group.workload.inference_period_s
    done = np.zeros(active_s.size) if period_s is None else np.floor(active_s / period_s)
    return done.astype(np.int64)


def board_mj(count: Ints, inference: Inference | None, sleep_mw: float, powered_s: Floats) -> tuple[Floats, Floats]:
    """Energy of inferences, and of the board in the rest of the time that it has power."""
    if inference is None:
        return np.zeros(count.size), sleep_mw * powered_s
    busy_s = count * inference.latency_ms.value * 1e-3
    inferred_mj = count.astype(np.float64) * (inference.energy_uj.value * 1e-3)
    return inferred_mj, sleep_mw * np.maximum(powered_s - busy_s, 0.0)


def battery_days(battery: Battery | None, mean_mw: Floats) -> Floats:
    """Days that a full battery lasts at a mean power; inf where harvest feeds the device, NaN without a battery.

    In closed form (`simulators.battery`), at the mean current. What short peaks do to the voltage, that a harvest comes
    by day and is needed by night, and what cold takes, is not in it.
    """
    if battery is None:
        return np.full(mean_mw.size, np.nan)
    model, volts = cell_of(battery)
    load_ma = mean_mw / volts
    least_mah = model.least_mah(load_ma)
    lasts_s = model.seconds_to(model.capacity_mah, least_mah, load_ma - battery.harvest_mw / volts)
    return np.where(least_mah >= model.capacity_mah, 0.0, lasts_s) / DAY_S


def cell_of(battery: Battery) -> tuple[cells.Battery, float]:
    """The battery's model, and the voltage at which a power is a current: that of the board's supply behind a linear
    regulator, or the battery's own where it is constant."""
    if battery.kind is not None:
        return cells.batteries.get(battery.kind), BOARD_V
    assert battery.capacity_mah is not None
    volts = battery.voltage_v
    flat = cells.Battery(
        capacity_mah=battery.capacity_mah * battery.usable_share,
        curve=((0.0, volts), (1.0, volts * (1.0 + 1e-9))),
        self_discharge=battery.self_discharge_a_year,
    )
    return flat, volts


def broken_limits(
    group: Group, inference: Inference | None, busiest_s: Floats, sent: Ints, duration_s: float
) -> dict[str, np.ndarray]:
    """The columns ``over_latency``, ``over_power``, ``over_airtime`` and ``over_bytes``."""
    count, budget = sent.size, group.budget if inference is None else inference.budget
    period_s = group.workload.inference_period_s
    slow = inference is not None and over_latency(inference.latency_ms.value, budget)
    hungry = inference is not None and period_s is not None and over_power(inference.energy_uj.value, budget, period_s)
    airtime, bytes_a_day = budget.airtime_s_per_hour, budget.link_bytes_per_day
    loud = np.zeros(count, np.bool_) if airtime is None else busiest_s > airtime
    wordy = np.zeros(count, np.bool_)
    if bytes_a_day is not None:
        wordy = sent * group.workload.payload_bytes / (duration_s / DAY_S) > bytes_a_day
    return {
        "over_latency": np.full(count, slow),
        "over_power": np.full(count, hungry),
        "over_airtime": loud,
        "over_bytes": wordy,
    }
