"""The LoRa devices of a region, worked out: where they are, what each link loses, how and when each sends.

All groups of a region share its channels and gateways, whatever their link is called, and disturb one another.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from simulators.fleet.faults import FieldFaults, faults_of
from simulators.fleet.kinds import LoraKind
from simulators.fleet.placing import placed
from simulators.fleet.scenario import Scenario
from simulators.fleet.timing import Timing
from simulators.lorawan.capture import captures, modulation, sensitivities_dbm
from simulators.lorawan.chips import device_radios, gateway_radios
from simulators.lorawan.propagation import Shadowing, Site, loss_db, path_losses
from simulators.lorawan.reception import DEAF_DBM, Bools, Ears, Packets
from simulators.lorawan.region import MAC_OVERHEAD_BYTES, Channel, Region, regions
from simulators.lorawan.scenario import Fading, Pattern
from simulators.lorawan.streams import Floats, Ints, Purpose, uniforms

_ENERGY = "energy-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sendings:
    """Transmissions of a field's devices, (packets,) each: place of the device in the field, number of its message."""

    device: Ints
    message: Ints
    start_s: Floats
    channel: Ints


@dataclass(frozen=True, kw_only=True)
class LoraField:
    """Devices are counted by their place here; ``numbers`` are those in the scenario, by which draws are addressed.

    (devices,) each; ``loss_db`` (gateways, devices) with antennas and shadowing. ``payload_bytes`` is what a message
    carries, without the MAC's overhead.
    """

    scenario: Scenario
    name: str
    region: Region
    channels: tuple[Channel, ...]
    numbers: Ints
    group: Ints
    x_m: Floats
    y_m: Floats
    loss_db: Floats
    data_rate: Ints
    power_index: Ints
    power_dbm: Floats
    payload_bytes: Ints
    timing: Timing
    faults: FieldFaults
    _airtimes: dict[tuple[int, int], float] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Devices."""
        return self.numbers.size

    @cached_property
    def powered_s(self) -> Floats:
        """(devices,) seconds of the run without a brown-out."""
        return self.faults.powered_s(self.count, self.scenario.duration_s)

    @cached_property
    def airtime_s(self) -> Floats:
        """(devices,) time on air of a message at the device's data rate."""
        return self.airtimes_s(self.data_rate, self.payload_bytes)

    @cached_property
    def modulation(self) -> Ints:
        """(devices,) index of `lorawan.capture.MODULATIONS`."""
        table = np.zeros(max(self.region.uplink) + 1, np.int64)
        for rate in np.unique(self.data_rate).tolist():
            table[rate] = modulation(self.region.uplink_rate(rate))
        indices: Ints = table[self.data_rate]
        return indices

    @cached_property
    def ears(self) -> Ears:
        """What the gateways have in common, by the scenario's rule of capture."""
        return self._ears(self.scenario.field.capture)

    @property
    def other_capture(self) -> str | None:
        """Name of the rule that weighs interferers the other way, each alone or all together; None without one."""
        name = self.scenario.field.capture
        other = name.removeprefix(_ENERGY) if name.startswith(_ENERGY) else _ENERGY + name
        return other if other in captures else None

    @cached_property
    def other_ears(self) -> Ears | None:
        """The same gateways by `other_capture`."""
        return None if self.other_capture is None else self._ears(self.other_capture)

    @cached_property
    def lead_s(self) -> Floats:
        """(18,) from the start of a packet until interference matters, by modulation."""
        return captures.get(self.scenario.field.capture).lead_s()

    @cached_property
    def longest_s(self) -> float:
        """The longest frame on the air."""
        return float(self.airtime_s.max())

    @cached_property
    def rssi_dbm(self) -> Floats:
        """(gateways, devices) without fading."""
        return self.power_dbm - self.loss_db

    def airtimes_s(self, data_rate: Ints, payload_bytes: Ints) -> Floats:
        """Time on air of payloads at data rates, any shape."""
        kinds, place = np.unique(np.stack([data_rate.ravel(), payload_bytes.ravel()]), axis=1, return_inverse=True)
        table = [self._airtime_s(rate, size) for rate, size in kinds.T.tolist()]
        return np.array(table)[place.reshape(-1)].reshape(data_rate.shape)

    def between(self, start_s: float, end_s: float) -> Sendings:
        """What the schedule has devices send from ``start_s`` to before ``end_s``, device by device, brown-outs out."""
        return self.due(start_s, end_s)[0]

    def due(self, start_s: float, end_s: float) -> tuple[Sendings, Ints]:
        """The same, and the device of each message that came up in a brown-out and is not sent."""
        device, message, when = self.timing.between(start_s, end_s)
        withheld = np.empty(0, np.int64)
        if self.faults.silences:
            silent = self.faults.silent(device, when)
            withheld = device[silent]
            device, message, when = device[~silent], message[~silent], when[~silent]
        channel = self.channels_for(device, message)
        return Sendings(device=device, message=message, start_s=when, channel=channel), withheld

    def channels_for(self, device: Ints, message: Ints, data_rate: Ints | None = None) -> Ints:
        """A channel for each transmission, evenly drawn from those that take its data rate (the device's own)."""
        rates = self.data_rate[device] if data_rate is None else data_rate
        draw = uniforms(self.scenario.seed, Purpose.CHANNEL, self.numbers[device], message)[0]
        chosen = np.empty(device.size, dtype=np.int64)
        for rate in np.unique(rates):
            at = rates == rate
            allowed = np.array([number for number, one in enumerate(self.channels) if rate in one.data_rates])
            chosen[at] = allowed[(draw[at] * allowed.size).astype(np.int64)]
        return chosen

    def packets(self, sendings: Sendings, *, airtime_s: Floats | None = None) -> Packets:
        """Transmissions as gateways meet them: fading drawn, gateways that are down deaf.

        ``airtime_s``: of each, where they are not the devices' usual messages.
        """
        device = sendings.device
        modulations = self.modulation[device]
        end_s = sendings.start_s + (self.airtime_s[device] if airtime_s is None else airtime_s)
        rssi_dbm = self._levels_dbm(device, sendings.message)
        for gateway, since_s, until_s in self.faults.outages:
            deaf = (sendings.start_s < until_s) & (end_s > since_s)
            rssi_dbm[gateway, deaf] = DEAF_DBM
        return Packets(
            start_s=sendings.start_s,
            end_s=end_s,
            vulnerable_s=sendings.start_s + self.lead_s[modulations],
            channel=sendings.channel.astype(np.int16),
            modulation=modulations.astype(np.int16),
            rssi_dbm=rssi_dbm,
        )

    def audible(self, sendings: Sendings) -> Bools:
        """(packets,) whether some gateway would hear it if all were up and nobody else sent."""
        levels_dbm = self._levels_dbm(sendings.device, sendings.message)
        loud = levels_dbm >= self.ears.sensitivity_dbm[self.modulation[sendings.device]]
        heard: Bools = np.logical_or.reduce(loud, axis=0)
        return heard

    def _levels_dbm(self, device: Ints, message: Ints) -> Floats:
        """(gateways, packets) with fading."""
        levels_dbm = self.rssi_dbm[:, device]
        if self.scenario.field.fading is Fading.NONE:
            return levels_dbm
        numbers, seed = self.numbers[device], self.scenario.seed
        draws = [
            uniforms(seed, Purpose.FADING, numbers, message, salt=gateway)[0] for gateway in range(len(self.loss_db))
        ]
        faded: Floats = levels_dbm + 10.0 * np.log10(np.maximum(-np.log1p(-np.stack(draws)), 1e-12))
        return faded

    def _airtime_s(self, data_rate: int, payload_bytes: int) -> float:
        key = (data_rate, payload_bytes)
        if key not in self._airtimes:
            self._airtimes[key] = self.region.uplink_rate(data_rate).airtime_s(payload_bytes + MAC_OVERHEAD_BYTES)
        return self._airtimes[key]

    def _ears(self, capture: str) -> Ears:
        rule = captures.get(capture)
        radio = gateway_radios.get(self.scenario.field.gateway_radio)
        return Ears(sensitivity_dbm=sensitivities_dbm(radio), sir_db=rule.table_db(), rule=rule.rule, paths=radio.paths)


def lora_field(scenario: Scenario, region_name: str) -> LoraField:
    """Works out the LoRa groups of a region; raises SchemaError for a file of positions that cannot be used."""
    groups = [
        number
        for number, group in enumerate(scenario.devices)
        if isinstance(group.kind, LoraKind) and group.kind.region == region_name
    ]
    region, shared = regions.get(region_name), scenario.field
    channels = shared.channels(region_name)
    members = {number: scenario.numbers_of(number) for number in groups}
    numbers = np.concatenate(list(members.values()))
    kinds = [scenario.devices[number] for number in groups]
    sizes = [group.count for group in kinds]
    places = [placed(scenario, number) for number in groups]
    x, y = np.concatenate([place[0] for place in places]), np.concatenate([place[1] for place in places])
    distance_m = np.stack([np.hypot(x - gateway.x_m, y - gateway.y_m) for gateway in scenario.gateways])
    site = Site(
        frequency_hz=float(channels[0].frequency_hz),
        gateway_height_m=shared.gateway_height_m,
        device_height_m=shared.device_height_m,
    )
    shadowing = Shadowing(sigma_db=shared.shadowing_db, correlation=shared.shadowing_correlation)
    loss = loss_db(path_losses.get(shared.path_loss), distance_m, site)
    loss = loss + shadowing.of(numbers, seed=scenario.seed, gateways=len(scenario.gateways))
    antenna = shared.device_antenna_dbi
    power = [
        min(region.eirp_dbm(one.power_index), device_radios.get(one.radio).max_power_dbm + antenna) for one in kinds
    ]

    def each(values: list[float]) -> Floats:
        return np.repeat(np.array(values, dtype=np.float64), sizes)

    faults = faults_of(scenario, numbers, np.repeat(groups, sizes))
    schedule = scenario.schedule
    made = LoraField(
        scenario=scenario,
        name=region_name,
        region=region,
        channels=channels,
        numbers=numbers,
        group=np.repeat(groups, sizes),
        x_m=x,
        y_m=y,
        loss_db=loss - shared.gateway_antenna_dbi,
        data_rate=np.repeat([one.fixed_rate or 0 for one in kinds], sizes),
        power_index=np.repeat([one.power_index for one in kinds], sizes),
        power_dbm=each(power),
        payload_bytes=np.repeat([one.workload.payload_bytes for one in kinds], sizes),
        timing=Timing(
            seed=scenario.seed,
            numbers=numbers,
            period_s=each([one.workload.report_period_s for one in kinds]),
            jitter_s=each([one.workload.jitter_s for one in kinds]),
            poisson=np.repeat([one.workload.pattern is Pattern.POISSON for one in kinds], sizes),
            duration_s=scenario.duration_s,
            active_h=None if schedule is None else schedule.hours,
            drifts=faults.drifts,
        ),
        faults=faults,
    )
    return replace(made, data_rate=_fastest(made), _airtimes={})


def _fastest(made: LoraField) -> Ints:
    """Data rates: fixed ones as they are, adaptive ones the fastest 125 kHz one that the best gateway hears."""
    chosen = made.data_rate.copy()
    strongest = made.rssi_dbm.max(axis=0)
    taken = {rate for channel in made.channels for rate in channel.data_rates}
    narrow = sorted(taken & {index for index, rate in made.region.uplink.items() if rate.bandwidth_hz == 125_000})
    for number in np.unique(made.group).tolist():
        if made.scenario.devices[number].fixed_rate is not None:
            continue
        some = made.group == number
        chosen[some] = narrow[0]
        for rate in narrow:
            needed_dbm = made.ears.sensitivity_dbm[modulation(made.region.uplink_rate(rate))]
            chosen[some & (strongest >= needed_dbm)] = rate
    return chosen
