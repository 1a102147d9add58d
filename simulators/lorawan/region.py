"""What a region allows, as data: data rates, channels, sub-bands, power, windows. `eu868` and `us915` fill it in.

Every look-up that can fail says which values there are. What a region demands of a device over time is in
`duty` and `adr`; this module only holds the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from simulators.lora import time_on_air_s
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError
from tamiyo_runtime.contracts.registry import Registry

MAC_OVERHEAD_BYTES = 13
"""MAC header 1, device address 4, control 1, counter 2, port 1, integrity code 4; no options."""
_FSK_FRAMING_BYTES = 11  # preamble 5, sync word 3, length 1, CRC 2 (LoRaWAN regional parameters, GFSK)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRate:
    """A modulation and the largest application payload it may carry (without MAC options).

    ``spreading_factor`` None is FSK at ``bit_rate`` bits a second. ``via_repeater_bytes`` is what repeaters and The
    Things Network let through; the same where no repeater counts.
    """

    spreading_factor: int | None
    bandwidth_hz: int
    max_payload_bytes: int
    via_repeater_bytes: int
    bit_rate: int | None = None

    @property
    def name(self) -> str:
        """As people write it: SF7/125, or FSK."""
        return "FSK" if self.spreading_factor is None else f"SF{self.spreading_factor}/{self.bandwidth_hz // 1000}"

    def airtime_s(self, phy_bytes: int, *, crc: bool = True) -> float:
        """Time on air of a PHY payload at coding rate 4/5 with an explicit header; downlinks carry no CRC."""
        if self.spreading_factor is None:
            if self.bit_rate is None:
                raise SchemaError("bit_rate", "an FSK data rate has none", hint="give its bits a second, as 50000")
            return 8 * (phy_bytes + _FSK_FRAMING_BYTES) / self.bit_rate
        return time_on_air_s(
            spreading_factor=self.spreading_factor,
            bandwidth_hz=self.bandwidth_hz,
            payload_bytes=phy_bytes,
            crc=crc,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A centre frequency and the uplink data rates it takes."""

    frequency_hz: int
    data_rates: range

    def __post_init__(self) -> None:
        if self.frequency_hz <= 0 or not self.data_rates:
            raise SchemaError("channel", f"{self.frequency_hz} Hz with data rates {self.data_rates} is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubBand:
    """A stretch of spectrum with a limit of its own: ``duty_cycle`` of any hour, ``max_eirp_dbm``."""

    name: str
    low_hz: int
    high_hz: int
    duty_cycle: float
    max_eirp_dbm: float

    def __post_init__(self) -> None:
        if not (0 < self.low_hz < self.high_hz and 0 < self.duty_cycle <= 1 and math.isfinite(self.max_eirp_dbm)):
            raise SchemaError(
                "sub_band",
                f"{self.low_hz} to {self.high_hz} Hz at a duty cycle of {self.duty_cycle} is none",
                hint="frequencies rise from above 0, a duty cycle is in (0, 1]",
            )

    @property
    def limit_s_per_hour(self) -> float:
        """Seconds on the air that an hour holds; 3600 without a duty cycle."""
        return 3600.0 * self.duty_cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One regional channel plan. Data rates are keyed by their DR index, up- and downlink apart.

    ``rx1_frequencies_hz``: of the first window by that of the uplink; None: the same.
    """

    name: str
    uplink: Mapping[int, DataRate]
    downlink: Mapping[int, DataRate]
    plans: Mapping[str, tuple[Channel, ...]]
    sub_bands: tuple[SubBand, ...]
    max_eirp_dbm: float
    power_levels: int
    power_step_db: float = 2.0
    rx1_data_rates: Mapping[int, tuple[int, ...]]
    rx1_frequencies_hz: Mapping[int, int] | None = None
    rx2_frequency_hz: int
    rx2_data_rate: int
    receive_delay_s: float = 1.0
    join_delay_s: float = 5.0
    dwell_s: float | None = None
    join_accept_bytes: int = 17

    def uplink_rate(self, data_rate: int) -> DataRate:
        """Uplink data rate by index; raises InputError naming those there are."""
        if data_rate not in self.uplink:
            raise InputError(f"{self.name} has no uplink data rate DR{data_rate}", hint=_known(self.uplink))
        return self.uplink[data_rate]

    def downlink_rate(self, data_rate: int) -> DataRate:
        """Downlink data rate by index; raises InputError naming those there are."""
        if data_rate not in self.downlink:
            raise InputError(f"{self.name} has no downlink data rate DR{data_rate}", hint=_known(self.downlink))
        return self.downlink[data_rate]

    def plan(self, name: str) -> tuple[Channel, ...]:
        """Uplink channels of a plan; raises UnknownNameError with the plans there are."""
        if name not in self.plans:
            raise UnknownNameError(f"{self.name} channel plan", name, self.plans)
        return self.plans[name]

    def sub_band(self, frequency_hz: int) -> SubBand:
        """The sub-band a frequency lies in; raises InputError naming the bands.

        On a border the band that the region lists first counts.
        """
        for band in self.sub_bands:
            if band.low_hz <= frequency_hz <= band.high_hz:
                return band
        bands = ", ".join(f"{band.low_hz / 1e6:g} to {band.high_hz / 1e6:g} MHz" for band in self.sub_bands)
        raise InputError(f"{frequency_hz / 1e6:g} MHz lies in no band of {self.name}", hint=f"bands: {bands}")

    def check_payload(self, data_rate: int, payload_bytes: int) -> None:
        """Raises SchemaError when the application payload is not one the data rate may carry."""
        most = self.uplink_rate(data_rate).max_payload_bytes
        if not 0 <= payload_bytes <= most:
            raise SchemaError(
                "payload_bytes",
                f"{payload_bytes} bytes do not fit DR{data_rate} of {self.name}",
                hint=f"0 to {most} bytes there; " + _known(self.uplink, sizes=True),
            )

    def airtime_s(self, data_rate: int, payload_bytes: int) -> float:
        """Time on air of an uplink with an application payload; raises like `check_payload`."""
        self.check_payload(data_rate, payload_bytes)
        return self.uplink_rate(data_rate).airtime_s(payload_bytes + MAC_OVERHEAD_BYTES)

    def eirp_dbm(self, power_index: int) -> float:
        """Radiated power at a TXPower index; raises InputError naming the indices there are."""
        if not 0 <= power_index < self.power_levels:
            raise InputError(
                f"{self.name} has no TXPower {power_index}", hint=f"0 to {self.power_levels - 1}, 0 being the most"
            )
        return self.max_eirp_dbm - self.power_step_db * power_index

    def rx1_data_rate(self, data_rate: int, offset: int = 0) -> int:
        """Downlink data rate of the first window; raises InputError naming the legal offsets."""
        self.uplink_rate(data_rate)
        row = self.rx1_data_rates[data_rate]
        if not 0 <= offset < len(row):
            raise InputError(f"{self.name} has no RX1 offset {offset}", hint=f"0 to {len(row) - 1}")
        return row[offset]

    def rx1_frequency_hz(self, channel: Channel) -> int:
        """Frequency of the first window after an uplink on a channel of one of the plans."""
        if self.rx1_frequencies_hz is None:
            return channel.frequency_hz
        return self.rx1_frequencies_hz[channel.frequency_hz]


regions: Registry[Region] = Registry("lorawan-regions", noun="LoRaWAN region")


def _known(rates: Mapping[int, DataRate], *, sizes: bool = False) -> str:
    return ", ".join(
        f"DR{index} {rate.name}" + (f" {rate.max_payload_bytes} B" if sizes else "") for index, rate in rates.items()
    )
