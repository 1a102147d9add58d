"""When messages come up, and where they go: the same for a fleet at once and for one device of it."""

from __future__ import annotations

import math

import numpy as np

from simulators.lorawan.network import Network
from simulators.lorawan.scenario import Pattern
from simulators.lorawan.streams import Floats, Ints, Purpose, uniforms

_DEVICES_AT_ONCE = 4096


def arrivals(network: Network) -> tuple[Ints, Ints, Floats]:
    """Device, number and time of every message in the scenario's duration, device by device and in order."""
    devices, numbers, times = [], [], []
    for first in range(0, network.scenario.devices, _DEVICES_AT_ONCE):
        some = np.arange(first, min(first + _DEVICES_AT_ONCE, network.scenario.devices))
        when = _times(network, some)
        inside = when < network.scenario.duration_s
        rows, columns = np.nonzero(inside)
        devices.append(some[rows])
        numbers.append(columns)
        times.append(when[inside])
    return np.concatenate(devices), np.concatenate(numbers), np.concatenate(times)


def channel_numbers(network: Network, device: Ints, index: Ints, data_rate: Ints) -> Ints:
    """A channel for each transmission, evenly drawn from those that take its data rate."""
    draw = uniforms(network.scenario.seed, Purpose.CHANNEL, device, index)[0]
    chosen = np.empty(device.size, dtype=np.int64)
    for rate in np.unique(data_rate):
        at = data_rate == rate
        allowed = np.array(network.channels_of(int(rate)))
        chosen[at] = allowed[(draw[at] * allowed.size).astype(np.int64)]
    return chosen


def _times(network: Network, devices: Ints) -> Floats:
    """(devices, messages) times in order, the last of each row at or beyond the end."""
    scenario = network.scenario
    traffic = scenario.traffic
    expected = scenario.duration_s / traffic.period_s
    if traffic.pattern is Pattern.PERIODIC:
        count = math.ceil(expected) + 1
        phase = uniforms(scenario.seed, Purpose.PHASE, devices, 0)[0][:, None]
        when = (phase + np.arange(count)) * traffic.period_s
        if traffic.jitter_s:
            when += traffic.jitter_s * uniforms(scenario.seed, Purpose.GAP, devices[:, None], np.arange(count))[0]
        return when
    count = math.ceil(expected + 6.0 * math.sqrt(expected) + 10)
    while True:
        gaps = -traffic.period_s * np.log1p(
            -uniforms(scenario.seed, Purpose.GAP, devices[:, None], np.arange(count))[0]
        )
        when = np.cumsum(gaps, axis=1)
        if (when[:, -1] >= scenario.duration_s).all():
            return when
        count *= 2
