"""Small fields for tests of fleets, and radios in them."""

from __future__ import annotations

from functools import partial

import numpy as np

from simulators.fleet.detail.air import Air, Medium, frames_of, part
from simulators.fleet.detail.link import Radio
from simulators.lorawan import open_loop
from simulators.lorawan.network import Network
from simulators.lorawan.scenario import Scenario, Traffic


def scenario(**changes: object) -> Scenario:
    """Sixty devices close to one gateway on three channels, busy enough for frames to be lost."""
    values: dict[str, object] = {
        "devices": 60,
        "duration_s": 1800.0,
        "radius_m": 3000.0,
        "data_rate": 3,
        "traffic": Traffic(period_s=60.0, payload_bytes=40),
    }
    return Scenario(**{**values, **changes})  # type: ignore[arg-type]


def medium_of(network: Network, detailed: set[int]) -> Medium:
    """The network's open loop, without those that are run in detail."""
    schedule = open_loop.plan(network)
    rest = np.flatnonzero(~np.isin(schedule.device, sorted(detailed)))
    return Medium(
        ears=open_loop.ears(network),
        rest=Air(device=schedule.device[rest], packets=part(schedule.packets, rest)),
        make=partial(frames_of, network),
    )


def radio_of(network: Network, number: int, **changes: object) -> Radio:
    """A device's radio in a network."""
    values: dict[str, object] = {
        "seed": network.scenario.seed,
        "number": number,
        "region": network.region,
        "channels": network.channels,
        "data_rate": int(network.data_rate[number]),
        "power_index": network.scenario.power_index,
        "power_dbm": network.power_dbm(network.scenario.power_index) - network.scenario.device_antenna_dbi,
        "chip": network.device_radio,
        "end_s": network.scenario.duration_s,
    }
    return Radio(**{**values, **changes})  # type: ignore[arg-type]
