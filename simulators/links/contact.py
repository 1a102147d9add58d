"""A slow link that is always there, and now and then a fast one in passing: both simulated.

A gateway on a tractor, a drone or a ferry, or a phone of a passer-by: for ``length_s`` out of every ``period_s`` the
device can reach a network without a duty cycle. `tamiyo_runtime` keeps single samples for that, and everything else
that the slow link could not carry.

The contact is a rate and a timetable: no fading at its edges, no time to associate, no other devices. Frames of the
slow link go on obeying its rules whatever the contact did; what goes over the contact costs no airtime and no charge of
the slow radio, and its energy is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from simulators.links.lora import PRESETS, SOURCES, LoRaLink
from tamiyo_runtime.link import Lasting, Link, Transmission, links

CONTACT_BYTES_PER_S = 250_000.0
"""2 Mbit/s: what is left of a Wi-Fi or 5G link at the edge of its range."""
_PAYLOAD_BYTES = 16 << 10


class Contact(Lasting):
    """The fast link while it is there: a rate, and payloads one after the other."""

    carries_raw = True

    def __init__(self, bytes_per_s: float = CONTACT_BYTES_PER_S) -> None:
        self.label = f"contact {bytes_per_s * 8e-6:g} Mbit/s (simulated)"
        self._bytes_per_s = bytes_per_s
        self._free_s = -math.inf

    def max_payload_bytes(self) -> int:
        """What a broker with default settings takes for certain."""
        return _PAYLOAD_BYTES

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """When the payload before has left."""
        return max(now_s, self._free_s)

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Send; nothing is lost."""
        if not 0 <= size_bytes <= _PAYLOAD_BYTES or now_s < self._free_s:
            raise ValueError(f"{size_bytes} bytes at {now_s} s: not over {_PAYLOAD_BYTES}, nor before {self._free_s} s")
        took_s = size_bytes / self._bytes_per_s
        self._free_s = now_s + took_s
        return Transmission(delivered=True, airtime_s=0.0, latency_s=took_s, energy_uj=0.0)

    def sustainable_bytes_per_s(self) -> float:
        """Its rate."""
        return self._bytes_per_s

    def level(self, now_s: float) -> float:
        """There is no credit to use up."""
        return 1.0


class LoRaWithContact:
    """LoRa all the time; from ``period_s`` on, every ``period_s``, a contact of ``length_s`` beside it."""

    carries_raw = False
    options = ("period_s", "length_s", "loss_probability", "seed")
    example = "period_s=3600&length_s=60, the length shorter than the period"
    sources: ClassVar[Mapping[str, str]] = {**SOURCES, "contact": "rate and timetable: chosen"}
    lora: ClassVar[type[LoRaLink]] = LoRaLink

    def __init__(
        self, *, period_s: float = 3600.0, length_s: float = 60.0, loss_probability: float = 0.0, seed: int = 0
    ) -> None:
        """Raises ValueError unless 0 < ``length_s`` < ``period_s``."""
        if not 0 < length_s < period_s < math.inf:
            raise ValueError(f"a contact of {length_s:g} s every {period_s:g} s cannot be")
        self.slow, self.contact = self.lora(loss_probability=loss_probability, seed=seed), Contact()
        self.label = f"{self.slow.label} + {self.contact.label}, {length_s:g} s every {period_s:g} s"
        self._period_s, self._length_s = period_s, length_s

    def way(self, now_s: float) -> Link:
        """The contact while there is one."""
        return self.contact if self._is_contact(now_s) else self

    def changes_at_s(self, now_s: float) -> float:
        """The beginning of the next contact, or the end of the present one."""
        begun_s = now_s // self._period_s * self._period_s
        return begun_s + (self._length_s if self._is_contact(now_s) else self._period_s)

    def max_payload_bytes(self) -> int:
        """Of LoRa, like all that follows."""
        return self.slow.max_payload_bytes()

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """When LoRa may send."""
        return self.slow.ready_at_s(size_bytes, now_s)

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Send by LoRa."""
        return self.slow.transmit(size_bytes, now_s)

    def sustainable_bytes_per_s(self) -> float:
        """What LoRa carries for ever: windows are made for that."""
        return self.slow.sustainable_bytes_per_s()

    def level(self, now_s: float) -> float:
        """LoRa's credit."""
        return self.slow.level(now_s)

    def worst_hour_s(self) -> float:
        """LoRa's most time on air in any hour."""
        return self.slow.worst_hour_s()

    def _is_contact(self, now_s: float) -> bool:
        return now_s >= self._period_s and now_s % self._period_s < self._length_s


def _preset(lora: type[LoRaLink]) -> type[LoRaWithContact]:
    doc = f"A contact now and then beside LoRa at SF{lora.spreading_factor}."
    return type(f"{lora.__name__}WithContact", (LoRaWithContact,), {"lora": lora, "__doc__": doc})


links.register("lora-eu868+contact")(LoRaWithContact)
for _factor, _lora in PRESETS.items():
    links.register(f"lora-eu868-sf{_factor}+contact")(_preset(_lora))
