"""Plans for LoRaWAN devices: what a report costs at each data rate, how often the law allows one, who is heard.

Time on air, credits and energy are those of `simulators.lorawan`. Delivery is found on the fleet's own field, for
unconfirmed reports without ADR and without faults: several fleets of the same kind, each for as long as its share of
`_REPORTS` takes, so the horizon is shortened and not the fleet. The other groups go on as the scenario has them. What
comes out is a mean over fleets; its error says how far one more fleet of that kind may be off, for where its devices
stand and what they draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from simulators.airtime import HOUR_S
from simulators.fleet.group import ADAPTIVE, Group
from simulators.fleet.kinds import LORA, LoraKind
from simulators.fleet.legality import shortest
from simulators.fleet.lora import LoraField, lora_field
from simulators.fleet.planning_terms import SECONDS_A_DAY, Cause, Delivery, Limit, Refused, Way
from simulators.fleet.scenario import Scenario
from simulators.lorawan.capture import modulation, sensitivities_dbm
from simulators.lorawan.chips import device_radios, gateway_radios
from simulators.lorawan.energy import uplink_mj
from simulators.lorawan.propagation import Site, loss_db, path_losses
from simulators.lorawan.reception import Verdict, receive
from simulators.lorawan.region import regions
from simulators.lorawan.scenario import Activation
from simulators.lorawan.windows import windows
from tamiyo_runtime.contracts.errors import InputError, SchemaError

FAIR_USE_S_A_DAY = 30.0
"""Time on air that The Things Network grants a device in a day."""
EACH_ITS_OWN = "each its fastest"
"""Every device at the fastest data rate that its best gateway hears, as ADR would have it in the end."""
_FEW, _MANY = 4, 8
_LARGE = 5000  # devices from which on `_FEW` fleets tell enough of the spread
_OVERLOAD = 2.0
_MOST_BESIDE = 50_000.0  # packets of other groups in a run, where that gives every device two reports
_REPORTS = 20_000  # of all fleets together, where that gives every device two at least
_T_95 = {_FEW: 3.182, _MANY: 2.365}  # Student's t, two-sided 95 %, by fleets: one degree of freedom less
_NO_LOSS = 3.0  # none of n lost: fewer than 3 in n are, at 95 %
_FARTHEST_M = 200_000.0
_NINE_OF_TEN = 1.2816  # standard deviations
_HALVINGS = 60


class LoRa:
    """A group of a scenario as plans see it. Its data rate and report period do not count."""

    def __init__(self, scenario: Scenario, group: int, *, fair_use: bool = False) -> None:
        """Raises SchemaError for a file of positions that cannot be used."""
        kind = scenario.devices[group].kind
        assert isinstance(kind, LoraKind)
        self._scenario = replace(scenario, faults=(), schedule=None)
        self._number = group
        self._group: Group = scenario.devices[group]
        self._fixed = kind.data_rate
        self._region_name, self._region = kind.region, regions.get(kind.region)
        self._channels = scenario.field.channels(kind.region)
        self._radio = device_radios.get(self._group.radio)
        antenna_dbi = scenario.field.device_antenna_dbi
        self._eirp_dbm = min(self._region.eirp_dbm(self._group.power_index), self._radio.max_power_dbm + antenna_dbi)
        self._fair_use = fair_use
        self._beside_hz = sum(
            one.count / one.workload.report_period_s
            for number, one in enumerate(scenario.devices)
            if number != group and isinstance(one.kind, LoraKind) and one.kind.region == kind.region
        )
        self._fleets = _FEW if self._group.count > _LARGE else _MANY
        self._deliveries: dict[tuple[str, float], Delivery] = {}
        self.name = f"LoRaWAN {self._region.name}, {len(self._channels)} channels"

    def ways(self) -> Sequence[Way]:
        """A way for each LoRa data rate that a channel takes, fastest first, then each device at its own."""
        return self._ways

    def classes(self) -> Sequence[Way]:
        """None: a device is told its data rate by whoever plans."""
        return ()

    def data_rate(self, way: Way) -> int | str:
        """What a scenario calls the way."""
        return ADAPTIVE if way.name == EACH_ITS_OWN else way.number

    def frames_s(self, way: Way, frame_bytes: int) -> float:
        """How far apart frames of an application payload have to be; raises SchemaError for one that does not fit."""
        rate = way.number
        return shortest(
            self._region, self._channels, data_rate=rate, airtime_s=self._region.airtime_s(rate, frame_bytes)
        ).interval_s

    def largest_bytes(self, way: Way) -> int:
        """The largest application payload of the way, as repeaters let it through."""
        return self._region.uplink_rate(way.number).via_repeater_bytes

    def radio_mw(self, way: Way, interval_s: float) -> float:
        """Mean power: a report with its two windows, asleep between."""
        asleep_s = max(0.0, interval_s - self._busy_s(way.number))
        return (way.report_mj + self._radio.supply_v * self._radio.sleep_ma.value * asleep_s) / interval_s

    def delivery(self, way: Way, interval_s: float) -> Delivery:
        """Found on the fleet's field, and remembered."""
        key = (way.name, interval_s)
        if key not in self._deliveries:
            bound = self._bound(way, interval_s)
            self._deliveries[key] = bound or self._simulated(self.data_rate(way), interval_s)
        return self._deliveries[key]

    def _bound(self, way: Way, interval_s: float) -> Delivery | None:
        """What can arrive at most where reports take more than `_OVERLOAD` times the air that there is.

        At any time a gateway receives one packet a channel and spreading factor, since no rule of capture lets two of
        a kind through for longer than a part of the preamble.
        """
        rate = way.number
        own = way.name == EACH_ITS_OWN
        channels = sum(1 for channel in self._channels if rate in channel.data_rates)
        kinds = channels * len(self._scenario.gateways) * (len(self._lora()) if own else 1)
        airtime_s = min(one.airtime_s for one in self._ways if one.airtime_s) if own else way.airtime_s
        load = self._group.count * airtime_s / interval_s / kinds
        if load <= _OVERLOAD:
            return None
        return Delivery(share=1.0 / load, error=0.0, lost={"collided": 1.0 - 1.0 / load}, fleets=0, reports=0)

    @cached_property
    def _ways(self) -> tuple[Way, ...]:
        rates = tuple(self._way(rate, self._region.uplink[rate].name) for rate in self._lora())
        own = self._own()
        return rates if own is None else (*rates, own)

    def _lora(self) -> list[int]:
        """LoRa data rates that a channel takes, fastest first; one where the link's name fixes it."""
        if self._fixed is not None:
            return [self._fixed]
        taken = {rate for channel in self._channels for rate in channel.data_rates}
        uplink = self._region.uplink
        rates = [rate for rate in uplink if rate in taken and uplink[rate].spreading_factor is not None]
        return sorted(rates, key=lambda rate: uplink[rate].airtime_s(50))

    def _way(self, data_rate: int, name: str) -> Way:
        payload_bytes = self._group.workload.payload_bytes
        try:
            airtime_s = self._region.airtime_s(data_rate, payload_bytes)
        except SchemaError as error:
            return _out(name, data_rate, error.message.removeprefix(f"{error.path}: "))
        conducted_dbm = self._eirp_dbm - self._scenario.field.device_antenna_dbi
        return Way(
            name=name,
            number=data_rate,
            airtime_s=airtime_s,
            report_mj=uplink_mj(
                self._radio, self._region, data_rate=data_rate, payload_bytes=payload_bytes, power_dbm=conducted_dbm
            ),
            limits=self._limits(data_rate, airtime_s),
            reach_m=self._reach_m(data_rate),
        )

    def _own(self) -> Way | None:
        """Held to the slowest data rate that a device of the fleets needs, in the law as in the battery. None where
        all devices come to the same, or the link's name fixes one."""
        if self._fixed is not None:
            return None
        try:
            used = [self._rates_of(self._fleet(number, ADAPTIVE, HOUR_S)) for number in range(self._fleets)]
        except SchemaError as error:
            return _out(EACH_ITS_OWN, self._lora()[-1], error.message.removeprefix(f"{error.path}: "))
        slowest, fastest = min(int(rates.min()) for rates in used), max(int(rates.max()) for rates in used)
        return None if slowest == fastest else self._way(slowest, EACH_ITS_OWN)

    def _limits(self, data_rate: int, airtime_s: float) -> tuple[Limit, ...]:
        limits = [Limit(cause=Cause.RADIO, interval_s=self._busy_s(data_rate))]
        law_s = self._legal_s(data_rate, airtime_s)
        if law_s > limits[0].interval_s:
            cause = Cause.DUTY_CYCLE if self._region.dwell_s is None else Cause.DWELL
            limits.append(Limit(cause=cause, interval_s=law_s))
        if self._fair_use:
            limits.append(Limit(cause=Cause.FAIR_USE, interval_s=airtime_s * SECONDS_A_DAY / FAIR_USE_S_A_DAY))
        return tuple(limits)

    def _legal_s(self, data_rate: int, airtime_s: float) -> float:
        return shortest(
            self._region,
            self._channels,
            data_rate=data_rate,
            airtime_s=airtime_s,
            jitter_s=self._group.workload.jitter_s,
            pattern=self._group.workload.pattern,
        ).interval_s

    def _busy_s(self, data_rate: int) -> float:
        airtime_s = self._region.airtime_s(data_rate, self._group.workload.payload_bytes)
        return airtime_s + windows(self._region, data_rate).until_closed_s + self._group.workload.jitter_s

    def _reach_m(self, data_rate: int) -> float | None:
        """By bisection: path loss grows with distance in every model."""
        field = self._scenario.field
        heard_dbm = sensitivities_dbm(gateway_radios.get(field.gateway_radio))
        needed_dbm = float(heard_dbm[modulation(self._region.uplink_rate(data_rate))]) - field.gateway_antenna_dbi
        budget_db = self._eirp_dbm - needed_dbm - _NINE_OF_TEN * field.shadowing_db
        site = Site(
            frequency_hz=float(self._channels[0].frequency_hz),
            gateway_height_m=field.gateway_height_m,
            device_height_m=field.device_height_m,
        )
        model = path_losses.get(field.path_loss)

        def reached(distance_m: float) -> bool:
            return float(loss_db(model, np.array([distance_m]), site)[0]) <= budget_db

        near_m, far_m = 0.0, _FARTHEST_M
        try:
            if reached(far_m):
                return None
            for _ in range(_HALVINGS):
                middle_m = (near_m + far_m) / 2
                near_m, far_m = (middle_m, far_m) if reached(middle_m) else (near_m, middle_m)
        except InputError:  # beyond the range of a model that has one
            return None
        return near_m

    def _simulated(self, data_rate: int | str, interval_s: float) -> Delivery:
        horizon_s = max(2.0, _REPORTS / self._fleets / self._group.count) * interval_s
        if self._beside_hz:
            horizon_s = max(2.0 * interval_s, min(horizon_s, _MOST_BESIDE / self._beside_hz))
        counts = np.zeros((self._fleets, len(Verdict)))
        for number in range(self._fleets):
            field = self._fleet(number, data_rate, interval_s, horizon_s)
            sendings = field.between(0.0, horizon_s)
            verdict = receive(field.packets(sendings), field.ears).min(axis=0)
            ours = field.group[sendings.device] == self._number
            counts[number] = np.bincount(verdict[ours], minlength=len(Verdict))
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares.mean(axis=0)
        spread = float(shares[:, Verdict.RECEIVED].std(ddof=1)) * math.sqrt(1 + 1 / self._fleets)
        reports = int(counts.sum())
        return Delivery(
            share=float(mean[Verdict.RECEIVED]),
            error=max(_T_95[self._fleets] * spread, _NO_LOSS / reports),
            lost={code.name.lower().replace("_", " "): float(mean[code]) for code in Verdict if code},
            fleets=self._fleets,
            reports=reports,
        )

    def _fleet(self, number: int, data_rate: int | str, interval_s: float, horizon_s: float = HOUR_S) -> LoraField:
        """One more fleet of the kind, drawn by a seed of its own."""
        return lora_field(
            replace(
                varied(self._scenario, self._number, data_rate=data_rate, interval_s=interval_s),
                seed=self._scenario.seed + number,
                days=horizon_s / SECONDS_A_DAY,
            ),
            self._region_name,
        )

    def _rates_of(self, field: LoraField) -> np.ndarray:
        rates: np.ndarray = field.data_rate[field.group == self._number]
        return rates


def varied(scenario: Scenario, number: int, *, data_rate: int | str, interval_s: float) -> Scenario:
    """The scenario with a LoRa group that sends so often, at that data rate, unconfirmed and without ADR."""
    group = scenario.devices[number]
    assert isinstance(group.kind, LoraKind)
    workload = replace(
        group.workload,
        report_period_s=interval_s,
        jitter_s=min(group.workload.jitter_s, interval_s),
        confirmed=False,
    )
    changed = replace(
        group,
        link=f"{LORA}{group.kind.region}",
        data_rate=data_rate,
        workload=workload,
        adr=False,
        activation=Activation.PERSONALISED,
    )
    return replace(scenario, devices=(*scenario.devices[:number], changed, *scenario.devices[number + 1 :]))


def _out(name: str, data_rate: int, why: str) -> Way:
    refused = Refused(way=name, cause=Cause.PAYLOAD, why=why)
    return Way(name=name, number=data_rate, airtime_s=0.0, report_mj=0.0, limits=(), reach_m=None, refused=refused)
