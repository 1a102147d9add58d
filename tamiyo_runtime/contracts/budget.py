"""The limits held at run time. A limit that is None is not enforced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tamiyo_runtime.contracts.document import require, require_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on one device.

    ``latency_ms``: deadline of an answer, counted from the arrival of its sample. ``power_mw`` and
    ``energy_burst_uj``: a token bucket that fills at ``power_mw`` (= uJ per ms) and holds at most ``energy_burst_uj``;
    both or neither. ``memory_bytes``: at load. ``temperature_c``: of the processor; from there on nothing runs, and a
    little below only what lets it cool. ``airtime_s_per_hour`` and ``link_bytes_per_day``: what telemetry may use of
    the link.
    """

    latency_ms: float | None = None
    power_mw: float | None = None
    energy_burst_uj: float | None = None
    memory_bytes: int | None = None
    temperature_c: float | None = None
    airtime_s_per_hour: float | None = None
    link_bytes_per_day: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("latency_ms", "power_mw", "energy_burst_uj", "memory_bytes", "temperature_c"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value is None or value > 0, name, f"must be above 0, got {value}")
        for name in ("airtime_s_per_hour", "link_bytes_per_day"):
            value = getattr(self, name)
            require_finite(**{name: value})
            require(value is None or value >= 0, name, f"must not be negative, got {value}")
        require(
            (self.power_mw is None) == (self.energy_burst_uj is None),
            "power_mw",
            "power_mw and energy_burst_uj go together",
        )
