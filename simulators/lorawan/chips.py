"""Radios as data: what they hear and what they draw, each row with its source and how sure that is.

`Certainty.TABLE` was read in the source named, `MEMORY` is a data sheet's figure recalled and not read again,
`ESTIMATE` is computed from neighbours. Currents are the radio's alone but for ``mdot``, which is a whole module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.registry import Registry

FACTORS = range(7, 13)


class Certainty(StrEnum):
    """How a figure came here."""

    TABLE = "read in the source"
    MEMORY = "from memory of the source"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class Sourced:
    """Figures of one source: one, or one for each spreading factor 7 to 12."""

    values: tuple[float, ...]
    source: str
    certainty: Certainty

    @property
    def value(self) -> float:
        """The only figure."""
        (value,) = self.values
        return value


@dataclass(frozen=True, slots=True)
class TxCurrents:
    """Current in mA by conducted power in dBm."""

    ma: Mapping[float, float]
    source: str
    certainty: Certainty


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """What a receiver hears: sensitivity in dBm by bandwidth (Hz), spreading factors 7 to 12."""

    name: str
    sensitivity_dbm: Mapping[int, Sourced]

    def hears_dbm(self, spreading_factor: int, bandwidth_hz: int) -> float:
        """Weakest signal it receives; raises InputError for a modulation that is not in the table."""
        if spreading_factor not in FACTORS or bandwidth_hz not in self.sensitivity_dbm:
            raise InputError(
                f"{self.name} has no sensitivity for SF{spreading_factor} at {bandwidth_hz} Hz",
                hint=f"SF7 to SF12 at {', '.join(map(str, self.sensitivity_dbm))} Hz",
            )
        return self.sensitivity_dbm[bandwidth_hz].values[spreading_factor - FACTORS.start]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRadio(Radio):
    """A device's radio. ``wait_ma`` flows between a frame and its windows, ``overhead_mc`` is the charge of waking and
    winding down around each frame."""

    supply_v: float
    sleep_ma: Sourced
    wait_ma: Sourced
    rx_ma: Sourced
    tx: TxCurrents
    overhead_mc: Sourced

    @property
    def max_power_dbm(self) -> float:
        """The most it sends with."""
        return max(self.tx.ma)

    def tx_current_ma(self, power_dbm: float) -> float:
        """Current while sending, between tabled powers by straight lines; raises InputError outside them."""
        powers = sorted(self.tx.ma)
        if not powers[0] <= power_dbm <= powers[-1]:
            raise InputError(
                f"{self.name} does not send with {power_dbm:g} dBm", hint=f"{powers[0]:g} to {powers[-1]:g} dBm"
            )
        return float(np.interp(power_dbm, powers, [self.tx.ma[power] for power in powers]))


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRadio(Radio):
    """A gateway's receiver: how many packets it demodulates at once, on how many channels."""

    paths: int
    channels: int
    max_power_dbm: float = 27.0  # conducted, of common concentrator cards: an estimate


device_radios: Registry[DeviceRadio] = Registry("lora-radios", noun="LoRa radio")
gateway_radios: Registry[GatewayRadio] = Registry("lora-gateways", noun="LoRa gateway radio")

_REV7 = "Semtech SX1276 data sheet rev. 7, RFS_L125_HF, RFS_L250_HF, RFS_L500_HF"
_TABLE6 = "Semtech SX1276 data sheet, table 6"
_LORASIM = "LoRaSim 0.2.1, loraDir.py, current by power"
_SX1262 = "Semtech SX1261/2 data sheet rev. 1.2, tables 3-5 to 3-8"
_CASALS = "Casals et al., Sensors 17(10):2364 (2017), table of states"
_NONE = Sourced((0.0,), "the radio alone", Certainty.ESTIMATE)
# fmt: off
_LORASIM_MA = (22, 22, 22, 23, 24, 24, 24, 25, 25, 25, 25, 26, 31, 32, 34, 35, 44, 82, 85, 90, 105, 115, 125)
# fmt: on
_LORASIM_TX = TxCurrents(
    dict(zip(map(float, range(-2, 21)), map(float, _LORASIM_MA), strict=True)), _LORASIM, Certainty.TABLE
)


def _scaled(row: Sourced, times: int) -> Sourced:
    """A row at a wider band: the noise grows with it."""
    by_db = 10 * float(np.log10(times))
    return Sourced(tuple(value + by_db for value in row.values), f"{row.source}, + {by_db:.0f} dB", Certainty.ESTIMATE)


def _widened(row: Sourced) -> dict[int, Sourced]:
    return {125_000: row, 250_000: _scaled(row, 2), 500_000: _scaled(row, 4)}


SX1276 = DeviceRadio(
    name="SX1276",
    sensitivity_dbm={
        125_000: Sourced((-123.0, -126.0, -129.0, -132.0, -133.0, -136.0), _REV7, Certainty.TABLE),
        250_000: Sourced((-120.0, -123.0, -125.0, -128.0, -130.0, -133.0), _REV7, Certainty.TABLE),
        500_000: Sourced((-116.0, -119.0, -122.0, -125.0, -128.0, -130.0), _REV7, Certainty.TABLE),
    },
    supply_v=3.3,
    sleep_ma=Sourced((0.0002,), _TABLE6, Certainty.MEMORY),
    wait_ma=Sourced((0.0002,), "asleep between frame and windows, as LoRaMac-node", Certainty.ESTIMATE),
    rx_ma=Sourced((11.2,), "ns-3 lorawan, lora-radio-energy-model.cc", Certainty.TABLE),
    tx=_LORASIM_TX,
    overhead_mc=_NONE,
)
SX1272 = DeviceRadio(
    name="SX1272",
    sensitivity_dbm=_widened(
        Sourced((-124.0, -127.0, -130.0, -133.0, -135.0, -137.0), "ns-3 lorawan end device; FLoRa", Certainty.TABLE)
    ),
    supply_v=3.3,
    sleep_ma=Sourced((0.0001,), "FLoRa, energyConsumptionParameters.xml (idle)", Certainty.TABLE),
    wait_ma=Sourced((0.0001,), "asleep between frame and windows, as LoRaMac-node", Certainty.ESTIMATE),
    rx_ma=Sourced((9.7,), "FLoRa, energyConsumptionParameters.xml", Certainty.TABLE),
    tx=_LORASIM_TX,
    overhead_mc=_NONE,
)
SX1262 = DeviceRadio(
    name="SX1262",
    sensitivity_dbm={
        # SF7 and SF12 are the data sheet's, those between lie on a straight line
        125_000: Sourced((-124.0, -126.6, -129.2, -131.8, -134.4, -137.0), _SX1262, Certainty.ESTIMATE),
        250_000: Sourced((-121.0, -123.6, -126.2, -128.8, -131.4, -134.0), _SX1262, Certainty.ESTIMATE),
        500_000: Sourced((-117.0, -119.4, -121.8, -124.2, -126.6, -129.0), _SX1262, Certainty.ESTIMATE),
    },
    supply_v=3.3,
    sleep_ma=Sourced((0.0006,), f"{_SX1262}: warm start", Certainty.MEMORY),
    wait_ma=Sourced((0.0006,), "asleep between frame and windows, as LoRaMac-node", Certainty.ESTIMATE),
    rx_ma=Sourced((4.6,), f"{_SX1262}: DC-DC, 125 kHz, not boosted", Certainty.MEMORY),
    tx=TxCurrents(
        # with the settings optimal for each power; below +14 dBm an estimate that errs high
        {-9.0: 25.0, 10.0: 32.0, 14.0: 45.0, 17.0: 63.0, 20.0: 84.0, 22.0: 118.0},
        f"{_SX1262}: 868/915 MHz",
        Certainty.MEMORY,
    ),
    overhead_mc=_NONE,
)
MDOT = DeviceRadio(
    name="MultiConnect mDot",
    sensitivity_dbm=SX1272.sensitivity_dbm,
    supply_v=3.3,
    sleep_ma=Sourced((0.045,), _CASALS, Certainty.MEMORY),
    wait_ma=Sourced((27.0,), f"{_CASALS}: waiting for a window", Certainty.MEMORY),
    rx_ma=Sourced((38.1,), f"{_CASALS}: receive window", Certainty.MEMORY),
    tx=TxCurrents({13.0: 83.0, 16.0: 83.0}, f"{_CASALS}: one power, taken for 13 to 16 dBm", Certainty.MEMORY),
    # ms x mA of waking up, preparing the radio, radio off, post-processing, switching off
    overhead_mc=Sourced(
        ((168.2 * 22.1 + 83.8 * 13.3 + 147.4 * 13.2 + 268.0 * 21.0 + 38.6 * 13.3) / 1000,), _CASALS, Certainty.MEMORY
    ),
)
SX1301 = GatewayRadio(
    name="SX1301",
    sensitivity_dbm=_widened(
        Sourced((-130.0, -132.5, -135.0, -137.5, -140.0, -142.5), "ns-3 lorawan gateway (SX1301)", Certainty.TABLE)
    ),
    paths=8,
    channels=8,
)
SX1302 = GatewayRadio(
    name="SX1302",
    sensitivity_dbm=_widened(
        Sourced((-127.0, -129.0, -132.5, -135.5, -138.0, -141.0), "gateway code, SX1302", Certainty.TABLE)
    ),
    paths=16,  # Semtech's product page (memory): twice those of the SX1301
    channels=8,
)
for _name, _radio in {"sx1276": SX1276, "sx1272": SX1272, "sx1262": SX1262, "mdot": MDOT}.items():
    device_radios.register(_name)(_radio)
for _name, _gateway in {"sx1301": SX1301, "sx1302": SX1302}.items():
    gateway_radios.register(_name)(_gateway)
