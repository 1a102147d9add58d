"""The port between telemetry and the radio (or cable) that carries it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

from tamiyo_runtime.contracts.registry import Registry


@dataclass(frozen=True, slots=True)
class Transmission:
    """What sending one payload took. ``delivered`` False means the far end never saw it."""

    delivered: bool
    airtime_s: float
    latency_s: float
    energy_uj: float


class Link(Protocol):
    """A way out of the device, with its rules. Times are on the runtime's clock, real or virtual.

    ``carries_raw``: whether it has room for single samples.
    """

    label: str
    carries_raw: bool

    def max_payload_bytes(self) -> int:
        """Largest payload that one transmission carries."""

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """Earliest time at which a payload of that size may be sent; ``now_s`` when at once."""

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Account for sending a payload now; raises ValueError before ``ready_at_s`` or over the maximum."""

    def sustainable_bytes_per_s(self) -> float:
        """Payload rate that the link can carry for ever in full frames; ``inf`` without a limit."""

    def level(self, now_s: float) -> float:
        """Share of the link's credit that is left, 0..1; 1 on a link without a limit."""

    def way(self, now_s: float) -> Link:
        """What to send over now: the link itself, or a faster one while that is there (a contact)."""

    def changes_at_s(self, now_s: float) -> float:
        """When `way` answers something else, at the earliest; ``inf`` when never."""


class Lasting:
    """The part of a `Link` that is always there: nothing faster ever comes by."""

    carries_raw = False

    def way(self, now_s: float) -> Self:
        """Itself."""
        return self

    def changes_at_s(self, now_s: float) -> float:
        """Never."""
        return math.inf


links: Registry[type[Link]] = Registry("links")


@links.register("ethernet")
class Ethernet(Lasting):
    """A link without limits worth modelling: a cable or Wi-Fi beside the broker."""

    label = "ethernet (no limit)"
    carries_raw = True

    def max_payload_bytes(self) -> int:
        """What a broker with default settings takes for certain."""
        return 16 << 10

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """At once."""
        return now_s

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Free."""
        return Transmission(delivered=True, airtime_s=0.0, latency_s=0.0, energy_uj=0.0)

    def sustainable_bytes_per_s(self) -> float:
        """No limit."""
        return math.inf

    def level(self, now_s: float) -> float:
        """Always full."""
        return 1.0
