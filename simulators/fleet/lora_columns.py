"""Columns of the devices of a LoRa field from what was counted in an open-loop run of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.fleet.legality import limit_s_per_hour
from simulators.fleet.lora import LoraField
from simulators.fleet.result import Fate
from simulators.fleet.tally import Tally
from simulators.lorawan.chips import device_radios
from simulators.lorawan.streams import Floats, Ints
from simulators.lorawan.windows import windows

Columns = dict[str, NDArray[Any]]


def place_columns(field: LoraField) -> Columns:
    """Where devices are and what they send with."""
    best = field.rssi_dbm.argmax(axis=0)
    gateways = field.scenario.gateways
    gx, gy = np.array([one.x_m for one in gateways]), np.array([one.y_m for one in gateways])
    return {
        "group": field.group,
        "x_m": field.x_m,
        "y_m": field.y_m,
        "gateway": best,
        "distance_m": np.hypot(field.x_m - gx[best], field.y_m - gy[best]),
        "signal_db": field.rssi_dbm.max(axis=0),
        "data_rate": field.data_rate,
    }


def traffic_columns(field: LoraField, tally: Tally) -> Columns:
    """What was sent, what became of it, and how long it took. A message is delivered when its frame has ended."""
    fates = tally.fates.astype(np.int64)
    packets = fates.sum(axis=1)
    received = fates[:, Fate.RECEIVED]
    latency_ms = np.where(received > 0, 1e3 * field.airtime_s, np.nan)
    other = np.full(field.count, -1) if field.other_capture is None else tally.other.astype(np.int64)
    return {
        "messages": packets,
        "withheld": tally.withheld.astype(np.int64),
        "packets": packets,
        "delivered": received,
        "delivered_other": other,
        "acknowledged": np.full(field.count, -1),
        **{fate.name.lower(): fates[:, fate] for fate in Fate},
        "airtime_s": packets * field.airtime_s,
        "busiest_hour_s": tally.busiest_s,
        "latency_p50_ms": latency_ms,
        "latency_p95_ms": latency_ms,
        "latency_p99_ms": latency_ms,
        "over_duty_cycle": tally.busiest_s > caps_s(field) * (1 + 1e-9),
    }


def caps_s(field: LoraField) -> Floats:
    """(devices,) time on air that any hour may hold; inf without a duty cycle."""
    caps = np.full(field.count, np.inf)
    for rate in np.unique(field.data_rate).tolist():
        limit = limit_s_per_hour(field.region, field.channels, rate)
        caps[field.data_rate == rate] = np.inf if limit is None else limit
    return caps


def energy_columns(field: LoraField, packets: Ints) -> Columns:
    """Energy of each radio by state: a frame, its two windows without an answer, the waits between, sleep for the rest.

    Two messages that come up within seconds, as Poisson ones may, overlap here.
    """
    names = ("radio_sending_mj", "radio_listening_mj", "radio_waiting_mj", "radio_sleep_mj")
    columns = {name: np.zeros(field.count) for name in names}
    antenna = field.scenario.field.device_antenna_dbi
    for group in np.unique(field.group).tolist():
        radio = device_radios.get(field.scenario.devices[group].radio)
        for rate in np.unique(field.data_rate[field.group == group]).tolist():
            some = np.flatnonzero((field.group == group) & (field.data_rate == rate))
            after = windows(field.region, rate)
            sent_ma = radio.tx_current_ma(float(field.power_dbm[some[0]]) - antenna)
            frames, airtime_s = packets[some], float(field.airtime_s[some[0]])
            busy_s = frames * (airtime_s + after.until_closed_s)
            volts = radio.supply_v
            columns["radio_sending_mj"][some] = volts * sent_ma * airtime_s * frames
            columns["radio_listening_mj"][some] = volts * radio.rx_ma.value * (after.first_s + after.second_s) * frames
            waiting_mc = radio.wait_ma.value * after.waited_s + radio.overhead_mc.value
            columns["radio_waiting_mj"][some] = volts * waiting_mc * frames
            columns["radio_sleep_mj"][some] = (
                volts * radio.sleep_ma.value * np.maximum(field.powered_s[some] - busy_s, 0.0)
            )
    return columns
