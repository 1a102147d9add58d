"""What the radio draws: seconds in each state times the current there. The radio alone, unless a profile is a module's.

    E = V (I_sleep t_sleep + I_wait t_wait + I_rx t_rx + sum over powers I_tx(p) t_tx(p) + overhead a frame)

Every second of the span is in one state. A receive window without a preamble lasts eight symbols.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.lorawan.chips import DeviceRadio
from simulators.lorawan.network import Network
from simulators.lorawan.open_loop import OpenRun
from simulators.lorawan.record import ClosedRun
from simulators.lorawan.region import Region
from simulators.lorawan.streams import Floats, Ints
from simulators.lorawan.windows import windows
from tamiyo_runtime.contracts.errors import InputError

SECONDS_A_YEAR = 365.25 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioUse:
    """Seconds in each state, (devices,) each but ``sent_s`` (TXPower indices, devices); ``span_s`` covers them all."""

    sent_s: Floats
    received_s: Floats
    waited_s: Floats
    frames: Ints
    span_s: float

    @property
    def slept_s(self) -> Floats:
        """The rest of the span; 0 of a radio that a schedule asks for more than it holds."""
        slept_s: Floats = np.maximum(self.span_s - self.sent_s.sum(axis=0) - self.received_s - self.waited_s, 0.0)
        return slept_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioEnergy:
    """Millijoules by state, (devices,) each (simulated)."""

    sent_mj: Floats
    received_mj: Floats
    waited_mj: Floats
    slept_mj: Floats
    overhead_mj: Floats

    @property
    def total_mj(self) -> Floats:
        """All states together."""
        return self.sent_mj + self.received_mj + self.waited_mj + self.slept_mj + self.overhead_mj


def use_of_closed(run: ClosedRun) -> RadioUse:
    """What a closed-loop run took of each radio."""
    devices = run.devices
    return RadioUse(
        sent_s=np.array([device.sent_s for device in devices]).T,
        received_s=np.array([device.received_s for device in devices]),
        waited_s=np.array([device.waited_s for device in devices]),
        frames=np.array([device.index for device in devices], dtype=np.int64),
        span_s=max(run.network.scenario.duration_s, *(device.free_s for device in devices)),
    )


def use_of_open(run: OpenRun) -> RadioUse:
    """What a schedule takes of each radio, had each frame its windows. Messages that come up while the radio is still
    busy with the last one overlap it here; ``slept_s`` is right as long as that is rare."""
    network, schedule = run.network, run.schedule
    count = network.scenario.devices
    frames = np.bincount(schedule.device, minlength=count)
    airtime_s = schedule.packets.end_s - schedule.packets.start_s
    sent_s = np.zeros((network.region.power_levels, count))
    np.add.at(sent_s, (schedule.power_index, schedule.device), airtime_s)
    received_s, waited_s = np.zeros(count), np.zeros(count)
    for data_rate in np.unique(schedule.data_rate).tolist():
        after = windows(network.region, data_rate, rx1_offset=network.scenario.mac.rx1_offset)
        some = np.bincount(schedule.device[schedule.data_rate == data_rate], minlength=count)
        received_s += some * (after.first_s + after.second_s)
        waited_s += some * after.waited_s
    last_s = float(schedule.packets.end_s.max(initial=0.0))
    return RadioUse(
        sent_s=sent_s,
        received_s=received_s,
        waited_s=waited_s,
        frames=frames,
        span_s=max(network.scenario.duration_s, last_s),
    )


def energy(network: Network, use: RadioUse) -> RadioEnergy:
    """Seconds to millijoules with the network's device radio; raises InputError for a power it cannot send with."""
    radio = network.device_radio
    volts = radio.supply_v
    used = np.flatnonzero(use.sent_s.any(axis=1)).tolist()
    sent_mc = np.zeros(use.sent_s.shape[1])
    for index in used:
        sent_mc += network.current_ma(index) * use.sent_s[index]
    return RadioEnergy(
        sent_mj=volts * sent_mc,
        received_mj=volts * radio.rx_ma.value * use.received_s,
        waited_mj=volts * radio.wait_ma.value * use.waited_s,
        slept_mj=volts * radio.sleep_ma.value * use.slept_s,
        overhead_mj=volts * radio.overhead_mc.value * use.frames.astype(np.float64),
    )


def uplink_mj(radio: DeviceRadio, region: Region, *, data_rate: int, payload_bytes: int, power_dbm: float) -> float:
    """Energy of one unanswered uplink with its windows, sleep not counted; raises as the region and the radio do."""
    after = windows(region, data_rate)
    charge_mc = (
        radio.tx_current_ma(power_dbm) * region.airtime_s(data_rate, payload_bytes)
        + radio.rx_ma.value * (after.first_s + after.second_s)
        + radio.wait_ma.value * after.waited_s
        + radio.overhead_mc.value
    )
    return radio.supply_v * charge_mc


def mean_current_ma(
    radio: DeviceRadio, region: Region, *, data_rate: int, payload_bytes: int, power_dbm: float, period_s: float
) -> float:
    """Mean current of a device that sends an unconfirmed message every ``period_s``."""
    busy_s = region.airtime_s(data_rate, payload_bytes) + windows(region, data_rate).until_closed_s
    if not period_s > busy_s:
        raise InputError(f"a message every {period_s:g} s leaves no time", hint=f"one takes {busy_s:.2f} s")
    energy_mj = uplink_mj(radio, region, data_rate=data_rate, payload_bytes=payload_bytes, power_dbm=power_dbm)
    return (energy_mj / radio.supply_v + radio.sleep_ma.value * (period_s - busy_s)) / period_s


def battery_life_s(capacity_mah: float, mean_ma: float) -> float:
    """How long a battery lasts at a mean current; see `simulators.battery` for what leaks, sags and is harvested."""
    if not (capacity_mah > 0 and mean_ma > 0):
        raise InputError(f"{capacity_mah} mAh at {mean_ma} mA is no battery life", hint="both are above 0")
    return 3600.0 * capacity_mah / mean_ma
