"""The receive windows of class A: when they open and how long they stay open."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.lora import symbol_s
from simulators.lorawan.region import DataRate, Region
from tamiyo_runtime.contracts.errors import InputError

WINDOW_SYMBOLS = 8
"""How long a window stays open when no preamble comes."""
BETWEEN_S = 1.0
"""The second opens so much after the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Receive windows after an uplink that nothing answers: how long each is open, and how long the radio waits."""

    first_s: float
    second_s: float
    waited_s: float

    @property
    def until_closed_s(self) -> float:
        """From the end of the uplink until the second has closed."""
        return self.first_s + self.second_s + self.waited_s


def windows(region: Region, data_rate: int, *, rx1_offset: int = 0, joins: bool = False) -> Windows:
    """Windows after an uplink at a data rate; raises as the region does, and InputError for FSK."""
    first = region.downlink_rate(region.rx1_data_rate(data_rate, rx1_offset))
    second = region.downlink_rate(region.rx2_data_rate)
    first_s, second_s = _open_s(first), _open_s(second)
    delay_s = region.join_delay_s if joins else region.receive_delay_s
    return Windows(first_s=first_s, second_s=second_s, waited_s=delay_s + max(0.0, BETWEEN_S - first_s))


def _open_s(rate: DataRate) -> float:
    if rate.spreading_factor is None:
        raise InputError("windows for FSK are not modelled", hint="choose one of the LoRa data rates")
    return WINDOW_SYMBOLS * symbol_s(rate.spreading_factor, rate.bandwidth_hz)
