"""A scenario worked out: where devices are, what each link loses, what a data rate takes. Both engines start here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simulators.lorawan.capture import captures, modulation, noise_dbm, sensitivities_dbm
from simulators.lorawan.chips import DeviceRadio, GatewayRadio, device_radios, gateway_radios
from simulators.lorawan.interference import Rule
from simulators.lorawan.propagation import Site, loss_db, path_losses
from simulators.lorawan.region import MAC_OVERHEAD_BYTES, Channel, Region, regions
from simulators.lorawan.scenario import Fading, Mac, Scenario
from simulators.lorawan.streams import Floats, Ints, Purpose, uniforms


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What devices of one network may differ in. ``data_rates``: those they may come to use."""

    radio: DeviceRadio
    mac: Mac
    payload_bytes: int
    confirmed: bool
    power_index: int
    data_rates: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """``loss_db`` (gateways, devices) with antennas and shadowing; ``data_rate`` (devices,) to begin with.

    ``kind`` (devices,) says which of ``kinds`` a device is, ``numbers`` (devices,) by what its draws are addressed.
    ``outages``: gateway, from and until when it hears nothing.
    """

    scenario: Scenario
    region: Region
    channels: tuple[Channel, ...]
    gateway_radio: GatewayRadio
    loss_db: Floats
    data_rate: Ints
    kinds: tuple[Kind, ...]
    kind: Ints
    numbers: Ints
    outages: tuple[tuple[int, float, float], ...] = ()

    @property
    def device_radio(self) -> DeviceRadio:
        """The radio of the first kind of devices, which is that of all where there is one kind."""
        return self.kinds[0].radio

    @cached_property
    def sensitivity_dbm(self) -> Floats:
        """(18,) of the gateways, by modulation."""
        return sensitivities_dbm(self.gateway_radio)

    @cached_property
    def noise_dbm(self) -> Floats:
        """(18,) by modulation."""
        return noise_dbm()

    @cached_property
    def sir_db(self) -> Floats:
        """(18, 18) thresholds, rows the wanted modulation."""
        return captures.get(self.scenario.capture).table_db()

    @property
    def rule(self) -> Rule:
        """How interferers are weighed."""
        return captures.get(self.scenario.capture).rule

    @cached_property
    def lead_s(self) -> Floats:
        """(18,) from the start of a packet until interference matters."""
        return captures.get(self.scenario.capture).lead_s()

    @cached_property
    def modulation(self) -> dict[int, int]:
        """Uplink data rate to modulation, LoRa only."""
        lora = {dr: rate for dr, rate in self.region.uplink.items() if rate.spreading_factor is not None}
        return {dr: modulation(rate) for dr, rate in lora.items()}

    def power_dbm(self, power_index: int, kind: int = 0) -> float:
        """Radiated power at a TXPower index: what the region allows and the radio can."""
        antenna = self.scenario.device_antenna_dbi
        return min(self.region.eirp_dbm(power_index), self.kinds[kind].radio.max_power_dbm + antenna)

    def current_ma(self, power_index: int) -> float:
        """The radio's current while sending at a TXPower index."""
        return self.device_radio.tx_current_ma(self.power_dbm(power_index) - self.scenario.device_antenna_dbi)

    def channels_of(self, data_rate: int) -> tuple[int, ...]:
        """Numbers of the channels that take a data rate."""
        return tuple(number for number, channel in enumerate(self.channels) if data_rate in channel.data_rates)

    def airtime_s(self, data_rate: int, kind: int = 0) -> float:
        """Time on air of a message at a data rate."""
        payload = self.kinds[kind].payload_bytes
        return self.region.uplink_rate(data_rate).airtime_s(payload + MAC_OVERHEAD_BYTES)

    def fading_db(self, device: Ints, index: Ints) -> Floats:
        """(gateways, ...) gain of each packet on each link; devices and indices are broadcast."""
        gateways = len(self.scenario.gateways_m)
        if self.scenario.fading is Fading.NONE:
            return np.zeros((gateways, *np.broadcast_shapes(device.shape, index.shape)))
        draws = [
            uniforms(self.scenario.seed, Purpose.FADING, self.numbers[device], index, salt=gateway)[0]
            for gateway in range(gateways)
        ]
        return 10.0 * np.log10(np.maximum(-np.log1p(-np.stack(draws)), 1e-12))


def resolve(scenario: Scenario) -> Network:
    """Works a scenario out; raises as its models do."""
    region = regions.get(scenario.region)
    one, two = uniforms(scenario.seed, Purpose.PLACE, np.arange(scenario.devices), 0)
    radius, angle = scenario.radius_m * np.sqrt(one), 2.0 * np.pi * two
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    distance_m = np.stack([np.hypot(x - gx, y - gy) for gx, gy in scenario.gateways_m])
    channels = region.plan(scenario.plan)
    site = scenario.site or Site(frequency_hz=float(channels[0].frequency_hz))
    loss = loss_db(path_losses.get(scenario.path_loss), distance_m, site)
    loss = loss + scenario.shadowing.draw_db(
        seed=scenario.seed, devices=scenario.devices, gateways=len(scenario.gateways_m)
    )
    network = Network(
        scenario=scenario,
        region=region,
        channels=channels,
        gateway_radio=gateway_radios.get(scenario.gateway_radio),
        loss_db=loss - scenario.gateway_antenna_dbi,
        data_rate=np.full(scenario.devices, scenario.data_rate or 0, dtype=np.int64),
        kinds=(
            Kind(
                radio=device_radios.get(scenario.device_radio),
                mac=scenario.mac,
                payload_bytes=scenario.traffic.payload_bytes,
                confirmed=scenario.traffic.confirmed,
                power_index=scenario.power_index,
                data_rates=scenario.data_rates(),
            ),
        ),
        kind=np.zeros(scenario.devices, dtype=np.int64),
        numbers=np.arange(scenario.devices),
    )
    if scenario.data_rate is None:
        network.data_rate[:] = _fastest(network)
    return network


def _fastest(network: Network) -> Ints:
    strongest = network.power_dbm(network.scenario.power_index) - network.loss_db.min(axis=0)
    chosen = np.full(strongest.size, min(network.scenario.data_rates()), dtype=np.int64)
    for data_rate in sorted(network.scenario.data_rates()):
        chosen[strongest >= network.sensitivity_dbm[network.modulation[data_rate]]] = data_rate
    return chosen
