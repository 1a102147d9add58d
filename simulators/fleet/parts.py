"""The parts of a scenario: where devices stand, what they do, what feeds them, what befalls them.

Each value is checked when it is made. ``doc`` of a field's metadata is its line in the reference of docs/fleet.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum

from simulators.battery import batteries
from simulators.fleet.complaints import check_name, doc
from simulators.lorawan.scenario import Pattern
from tamiyo_runtime.contracts.document import require, require_finite

__all__ = ["Battery", "Fault", "FaultKind", "Gateway", "Pattern", "Placement", "PlacementKind", "Schedule", "Workload"]
DAY_H = 24.0
FARTHEST_M = 20_040_000.0
"""Half the way round the Earth."""


class PlacementKind(StrEnum):
    """How devices are spread."""

    DISC = "disc"
    RING = "ring"
    GRID = "grid"
    FILE = "file"


class FaultKind(StrEnum):
    """What may go wrong."""

    BROWN_OUT = "brown-out"
    GATEWAY_DOWN = "gateway-down"
    SENSOR_STUCK = "sensor-stuck"
    BIT_FLIPS = "bit-flips"
    CLOCK_DRIFT = "clock-drift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where a LoRa gateway stands."""

    x_m: float = field(default=0.0, metadata=doc("east of the origin, m"))
    y_m: float = field(default=0.0, metadata=doc("north of the origin, m"))

    def __post_init__(self) -> None:
        _check_place(self.x_m, self.y_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the devices of a group stand: spread evenly over a disc or a ring, on a grid, or as a file says."""

    kind: PlacementKind = field(
        default=PlacementKind.DISC, metadata=doc("`disc`, `ring`, `grid` (square, row by row), or `file`")
    )
    radius_m: float | None = field(default=None, metadata=doc("disc, ring: outer radius, m"))
    inner_m: float | None = field(default=None, metadata=doc("ring: inner radius, m"))
    spacing_m: float | None = field(default=None, metadata=doc("grid: distance of neighbours, m"))
    file: str | None = field(
        default=None,
        metadata=doc("file: CSV with a header and the columns x_m, y_m, one row a device; more rows are left"),
    )
    x_m: float = field(default=0.0, metadata=doc("centre, east of the origin, m"))
    y_m: float = field(default=0.0, metadata=doc("centre, north of the origin, m"))

    def __post_init__(self) -> None:
        _check_place(self.x_m, self.y_m)
        needed = NEEDED[self.kind]
        for name in ("radius_m", "inner_m", "spacing_m"):
            value = getattr(self, name)
            require_finite(**{name: value})
            fits = value is None or 0 <= value <= FARTHEST_M
            require(fits, name, f"{value} m is no distance: 0 to {FARTHEST_M:g}")
        for name in ("radius_m", "inner_m", "spacing_m", "file"):
            given = getattr(self, name) is not None
            require(given or name not in needed, name, f"is missing: a {self.kind} needs {' and '.join(needed)}")
            require(not given or name in needed, name, f"is not for a {self.kind}, which has {' and '.join(needed)}")
        if self.radius_m is not None and self.inner_m is not None:
            require(self.inner_m <= self.radius_m, "inner_m", f"{self.inner_m} m is beyond radius_m, {self.radius_m} m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a device does: it infers, and it reports over its link."""

    report_period_s: float = field(metadata=doc("a message every so many seconds, on average for `poisson`"))
    payload_bytes: int = field(default=20, metadata=doc("application payload of a message, without headers"))
    pattern: Pattern = field(
        default=Pattern.PERIODIC, metadata=doc("`periodic` from a random phase, or `poisson` with that mean")
    )
    jitter_s: float = field(default=0.0, metadata=doc("periodic: a message is late by up to so much"))
    confirmed: bool = field(default=False, metadata=doc("LoRa: messages are acknowledged, and sent again if not"))
    inference_period_s: float | None = field(default=None, metadata=doc("an inference so often; none if left out"))

    def __post_init__(self) -> None:
        for name in ("report_period_s", "inference_period_s"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value is None or value > 0, name, f"{value} s is not above 0")
        require_finite(jitter_s=self.jitter_s)
        require(
            0 <= self.jitter_s <= self.report_period_s,
            "jitter_s",
            f"{self.jitter_s} s is not in 0 to report_period_s, {self.report_period_s} s",
        )
        periodic = self.pattern is Pattern.PERIODIC or not self.jitter_s
        require(periodic, "jitter_s", f"is for periodic messages: {self.pattern} ones come when they come")
        require(self.payload_bytes >= 0, "payload_bytes", f"{self.payload_bytes} bytes are none: 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """What feeds a device: one of `simulators.battery` by name, or one of constant voltage by its figures."""

    kind: str | None = field(
        default=None, metadata=doc("`li-socl2-aa` or `li-ion-18650`, with their curves; or the figures below")
    )
    capacity_mah: float | None = field(default=None, metadata=doc("nominal charge, mAh"))
    voltage_v: float = field(default=3.6, metadata=doc("constant voltage"))
    usable_share: float = field(default=0.85, metadata=doc("of the charge, before the device browns out"))
    self_discharge_a_year: float = field(default=0.01, metadata=doc("share of what is left that is lost a year"))
    harvest_mw: float = field(default=0.0, metadata=doc("power harvested, averaged over day and night, mW"))

    def __post_init__(self) -> None:
        if self.kind is not None:
            check_name("kind", batteries, self.kind)
        told = (self.kind is None) != (self.capacity_mah is None)
        require(told, "capacity_mah", "give either a kind of battery, or its capacity_mah")
        own = {one.name: one.default for one in dataclasses.fields(Battery)}
        for name in ("voltage_v", "usable_share", "self_discharge_a_year"):
            require(
                self.kind is None or getattr(self, name) == own[name],
                name,
                f"is for a battery by its capacity_mah: {self.kind} has its own",
            )
        for name in ("capacity_mah", "voltage_v", "usable_share"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value is None or value > 0, name, f"{value} is not above 0")
        require(self.usable_share <= 1, "usable_share", f"{self.usable_share} is not a share: above 0, 1 at most")
        share = self.self_discharge_a_year
        require(0 <= share < 1, "self_discharge_a_year", f"{share} is not a share: from 0 to below 1")
        require_finite(harvest_mw=self.harvest_mw)
        require(self.harvest_mw >= 0, "harvest_mw", f"{self.harvest_mw} mW is below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong, to a share of a group (or of all) or to a gateway, for a while."""

    kind: FaultKind = field(metadata=doc("`brown-out`, `gateway-down`, `sensor-stuck`, `bit-flips` or `clock-drift`"))
    devices: str | None = field(default=None, metadata=doc("name of the group it befalls; all groups if left out"))
    gateway: int | None = field(default=None, metadata=doc("gateway-down: number of the gateway, 0 the first"))
    share: float = field(default=1.0, metadata=doc("of the devices, drawn by the seed"))
    at_h: float = field(default=0.0, metadata=doc("begins so many hours into the run"))
    for_h: float | None = field(default=None, metadata=doc("lasts so many hours; to the end if left out"))
    drift_ppm: float | None = field(
        default=None, metadata=doc("clock-drift: microseconds a second that the clock loses; negative: gains")
    )

    def __post_init__(self) -> None:
        require_finite(share=self.share, at_h=self.at_h, for_h=self.for_h, drift_ppm=self.drift_ppm)
        require(0 < self.share <= 1, "share", f"{self.share} is not a share: above 0, 1 at most")
        require(self.at_h >= 0, "at_h", f"{self.at_h} h is before the run begins, at 0")
        require(self.for_h is None or self.for_h > 0, "for_h", f"{self.for_h} h is not above 0")
        down = self.kind is FaultKind.GATEWAY_DOWN
        require((self.gateway is not None) == down, "gateway", "is needed by gateway-down, and by nothing else")
        require(not (down and self.devices), "devices", "are not what gateway-down befalls: say which gateway")
        drifts = self.kind is FaultKind.CLOCK_DRIFT
        require((self.drift_ppm is not None) == drifts, "drift_ppm", "is needed by clock-drift, and by nothing else")
        drift = abs(self.drift_ppm or 0.0)
        require(drift <= 100_000, "drift_ppm", f"{self.drift_ppm} ppm is no clock: up to 100000 either way")

    @property
    def start_s(self) -> float:
        """When it begins."""
        return self.at_h * 3600

    @property
    def end_s(self) -> float:
        """When it is over; ``inf`` where it is not."""
        return float("inf") if self.for_h is None else (self.at_h + self.for_h) * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Hours of the day in which devices report and infer; the run begins at midnight. Outside them they sleep."""

    from_h: float = field(metadata=doc("first hour of the day, from 0"))
    to_h: float = field(metadata=doc("end of the last, up to 24"))

    def __post_init__(self) -> None:
        require_finite(from_h=self.from_h, to_h=self.to_h)
        require(
            0 <= self.from_h < self.to_h <= DAY_H,
            "to_h",
            f"{self.from_h} h to {self.to_h} h is no part of a day: 0 <= from_h < to_h <= 24",
        )

    @property
    def hours(self) -> tuple[float, float]:
        """From and to."""
        return self.from_h, self.to_h


def _check_place(x_m: float, y_m: float) -> None:
    for name, value in (("x_m", x_m), ("y_m", y_m)):
        require_finite(**{name: value})
        require(abs(value) <= FARTHEST_M, name, f"{value:g} m is off the Earth: up to {FARTHEST_M:g} either way")


NEEDED = {
    PlacementKind.DISC: ("radius_m",),
    PlacementKind.RING: ("radius_m", "inner_m"),
    PlacementKind.GRID: ("spacing_m",),
    PlacementKind.FILE: ("file",),
}
"""What a placement is made of, by kind."""
