"""A LoRaWAN class A uplink in the EU868 band, as the runtime's telemetry sees it.

Packet level: exact time on air, largest payload of each data rate, the duty cycle of the sub-band the three default
channels lie in, the receive windows that keep the radio busy after each uplink, and the energy of both.
Frames are unconfirmed; a frame is lost with a given probability. No other devices, fading or data-rate adaptation:
those belong to a fleet simulator.

Sources: `SOURCES`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

from simulators.airtime import HOUR_S, AirtimeLedger, CreditAccount
from simulators.lora import symbol_s, time_on_air_s
from tamiyo_runtime.link import Lasting, Transmission, links

OVERHEAD_BYTES = 13
"""MAC header, device address, control, counter, port and integrity code, without options."""
BANDWIDTH_HZ = 125_000
MAX_PAYLOAD_BYTES: dict[int, int] = {7: 222, 8: 222, 9: 115, 10: 51, 11: 51, 12: 51}
"""Largest application payload by spreading factor, DR5 down to DR0."""
LIMIT_S_PER_HOUR = 36.0
"""1 % of an hour in 868.0 to 868.6 MHz, where the default channels 868.1, 868.3 and 868.5 lie."""

SOURCES = {
    "rules": "data rates, payloads, sub-band limit, windows: LoRaMac-node RegionEU868.h; 222 bytes: The Things Network",
    "airtime": "Semtech SX1276 data sheet and AN1200.13",
    "energy": "3.3 V; 44 mA at +14 dBm in LoRaSim and FLoRa; 11.2 mA receiving in ns-3 lorawan",
    "loss": "none by default: it is the caller's",
}

_SUPPLY_V = 3.3
_TX_MA = 44.0
_RX_MA = 11.2
_RX2_DELAY_S = 2.0
_RX2_SF = 12
_RX_SYMBOLS = 8


class LoRaLink(Lasting):
    """Uplink at one spreading factor; implements `tamiyo_runtime.link.Link`.

    Guaranteed: the time on air in any hour, wherever it begins, is at most ``cap_s_per_hour``. That is the credit rule
    of LoRaMac-node with a tenth of the hour's allowance as largest burst, see `simulators.airtime`; pass
    ``CreditAccount.loramac_node(LIMIT_S_PER_HOUR)`` for the original, which lets through up to twice as much. Loss is
    drawn from a generator of its own, so runs with one ``seed`` are identical.
    """

    options = ("loss_probability", "seed")
    example = "loss_probability=0.1&seed=1"
    sources: ClassVar[Mapping[str, str]] = SOURCES
    spreading_factor: ClassVar[int] = 7

    def __init__(self, *, loss_probability: float = 0.0, seed: int = 0, account: CreditAccount | None = None) -> None:
        if not 0 <= loss_probability <= 1:
            raise ValueError(f"loss_probability {loss_probability} is not in [0, 1]")
        if seed % 1 != 0:  # an option is read as a float where it is no integer
            raise ValueError(f"seed {seed} is not a whole number")
        self.label = f"lora-eu868 SF{self.spreading_factor} (simulated, 1 % duty cycle)"
        self.cap_s_per_hour = LIMIT_S_PER_HOUR
        self._loss_probability = loss_probability
        self._random = random.Random(seed)  # noqa: S311 - simulation, not cryptography
        self._account = account or CreditAccount.strict(LIMIT_S_PER_HOUR)
        self._ledger = AirtimeLedger()
        self._listening_until_s = 0.0

    def max_payload_bytes(self) -> int:
        """Largest application payload of the data rate."""
        return MAX_PAYLOAD_BYTES[self.spreading_factor]

    def airtime_s(self, size_bytes: int) -> float:
        """Time on air of a payload, LoRaWAN's overhead included; raises ValueError over the maximum."""
        if not 0 <= size_bytes <= self.max_payload_bytes():
            raise ValueError(f"{size_bytes} bytes do not fit a frame of {self.max_payload_bytes()} bytes")
        return time_on_air_s(
            spreading_factor=self.spreading_factor,
            bandwidth_hz=BANDWIDTH_HZ,
            payload_bytes=size_bytes + OVERHEAD_BYTES,
        )

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """When the radio has closed its receive windows and the credit covers the frame."""
        earliest_s = now_s if now_s >= self._listening_until_s else self._listening_until_s
        return self._account.ready_at_s(self.airtime_s(size_bytes), earliest_s)

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Send a frame. Its latency is the time on air: gateway and network add nothing here."""
        airtime_s = self.airtime_s(size_bytes)
        ready_at_s = self.ready_at_s(size_bytes, now_s)
        if now_s < ready_at_s:
            raise ValueError(f"{size_bytes} bytes may not be sent at {now_s} s, not before {ready_at_s} s")
        self._account.spend(airtime_s, now_s)
        self._ledger.add(now_s, airtime_s)
        self._listening_until_s = now_s + airtime_s + _RX2_DELAY_S + _RX_SYMBOLS * symbol_s(_RX2_SF, BANDWIDTH_HZ)
        delivered = self._random.random() >= self._loss_probability
        return Transmission(
            delivered=delivered, airtime_s=airtime_s, latency_s=airtime_s, energy_uj=self.energy_uj(size_bytes)
        )

    def energy_uj(self, size_bytes: int) -> float:
        """Radio energy of one uplink: sending, and eight symbols of listening in each receive window."""
        symbols_s = symbol_s(self.spreading_factor, BANDWIDTH_HZ) + symbol_s(_RX2_SF, BANDWIDTH_HZ)
        charge_mc = _TX_MA * self.airtime_s(size_bytes) + _RX_MA * _RX_SYMBOLS * symbols_s
        return charge_mc * _SUPPLY_V * 1e3  # mA s V = mJ

    def sustainable_bytes_per_s(self) -> float:
        """Payload rate of full frames that the duty cycle carries for ever."""
        size_bytes = self.max_payload_bytes()
        return size_bytes * self._account.rate / self.airtime_s(size_bytes)

    def level(self, now_s: float) -> float:
        """Share of the largest credit that is there now."""
        return max(0.0, self._account.credit_s(now_s) / self._account.burst_s)

    def airtime_used_s(self, since_s: float, now_s: float) -> float:
        """Time on air between two times, for reports."""
        return self._ledger.used_s(since_s, now_s)

    def worst_hour_s(self) -> float:
        """The most time on air there was in any hour; at most ``cap_s_per_hour`` with the default account."""
        return self._ledger.peak_s(HOUR_S)


def _preset(factor: int) -> type[LoRaLink]:
    return type(f"LoRaLinkSf{factor}", (LoRaLink,), {"spreading_factor": factor, "__doc__": f"Uplink at SF{factor}."})


PRESETS = {factor: _preset(factor) for factor in MAX_PAYLOAD_BYTES}
"""A link by spreading factor."""

links.register("lora-eu868")(LoRaLink)
for _factor, _link in PRESETS.items():
    links.register(f"lora-eu868-sf{_factor}")(_link)
