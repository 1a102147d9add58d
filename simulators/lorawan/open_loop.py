"""The open loop: a schedule fixed beforehand, verdicts for all of it. No answers, so nobody retransmits or adapts.

For unconfirmed messages of personalised devices without ADR this is the whole of LoRaWAN's uplink, but for the
duty cycle, which is not enforced here: `busiest_hour_s` says what a schedule would use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.lorawan.network import Network
from simulators.lorawan.reception import DEAF_DBM, Codes, Ears, Packets, receive
from simulators.lorawan.scenario import Activation
from simulators.lorawan.streams import Floats, Ints
from simulators.lorawan.traffic import arrivals, channel_numbers
from tamiyo_runtime.contracts.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Transmissions of a fleet: who, their how manieth, and how; (packets,) each."""

    device: Ints
    index: Ints
    data_rate: Ints
    power_index: Ints
    packets: Packets


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A schedule and what became of it (simulated): by gateway (gateways, packets) and altogether (packets,)."""

    network: Network
    schedule: Schedule
    by_gateway: Codes
    verdict: Codes


def ears(network: Network) -> Ears:
    """What the network's gateways go by."""
    return Ears(
        sensitivity_dbm=network.sensitivity_dbm,
        sir_db=network.sir_db,
        rule=network.rule,
        paths=network.gateway_radio.paths,
    )


def packets_of(
    network: Network,
    *,
    device: Ints,
    index: Ints,
    start_s: Floats,
    airtime_s: Floats,
    data_rate: Ints,
    power_index: Ints,
    channel: Ints,
) -> Packets:
    """Transmissions as gateways meet them; (packets,) each."""
    modulation = _by_key(data_rate, network.modulation)
    levels = range(network.region.power_levels)
    powers_dbm = np.array([[network.power_dbm(level, kind) for level in levels] for kind in range(len(network.kinds))])
    power_dbm = powers_dbm[network.kind[device], power_index]
    rssi_dbm = power_dbm - network.loss_db[:, device] + network.fading_db(device, index)
    for gateway, since_s, until_s in network.outages:
        rssi_dbm[gateway, (start_s < until_s) & (start_s + airtime_s > since_s)] = DEAF_DBM
    return Packets(
        start_s=start_s,
        end_s=start_s + airtime_s,
        vulnerable_s=start_s + network.lead_s[modulation],
        channel=channel.astype(np.int16),
        modulation=modulation.astype(np.int16),
        rssi_dbm=rssi_dbm,
    )


def plan(network: Network) -> Schedule:
    """Every message sent as it comes up, on a channel drawn for it.

    Raises InputError where what devices send depends on what they hear: that takes the closed loop.
    """
    mac, traffic = network.scenario.mac, network.scenario.traffic
    if traffic.confirmed or mac.adr or mac.activation is Activation.JOIN:
        raise InputError(
            "confirmed messages, ADR and joining depend on answers, which an open loop does not have",
            hint="run the closed loop",
        )
    device, index, start_s = arrivals(network)
    data_rate = network.data_rate[device]
    power_index = np.full(device.size, network.scenario.power_index, dtype=np.int64)
    airtime_s = _by_key(data_rate, {rate: network.airtime_s(rate) for rate in np.unique(data_rate).tolist()})
    packets = packets_of(
        network,
        device=device,
        index=index,
        start_s=start_s,
        airtime_s=airtime_s,
        data_rate=data_rate,
        power_index=power_index,
        channel=channel_numbers(network, device, index, data_rate),
    )
    return Schedule(device=device, index=index, data_rate=data_rate, power_index=power_index, packets=packets)


def run(network: Network) -> OpenRun:
    """Plans and receives; raises InputError as `plan`."""
    schedule = plan(network)
    by_gateway = receive(schedule.packets, ears(network))
    return OpenRun(network=network, schedule=schedule, by_gateway=by_gateway, verdict=by_gateway.min(axis=0))


def _by_key(keys: Ints, table: dict[int, float] | dict[int, int]) -> np.ndarray:
    """Values of a small table for many keys."""
    values = np.zeros(max(table, default=0) + 1, dtype=np.asarray(list(table.values())).dtype)
    values[list(table)] = list(table.values())
    return values[keys]
