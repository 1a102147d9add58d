"""What this machine can be measured with, figure by figure, and what each figure will be called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.meters import Meters, find_meters, read_status
from tamiyo_runtime.meters.attribution import attribution
from tamiyo_runtime.meters.ports import PowerMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One figure. ``now``: a reading, or why there is none. ``label``: its source as printed, and how it is got."""

    figure: str
    read_from: str
    now: str
    label: str


def gauges(root: Path) -> Iterator[Gauge]:
    """All figures of a run on this machine."""
    meters = find_meters(root)
    yield Gauge(figure="latency", read_from="the clock", now="-", label=Source.MEASURED.value)
    yield _energy(meters)
    status = read_status(meters)
    yield Gauge(
        figure="slowdown",
        read_from=meters.speed.label if meters.speed else "no cpufreq found",
        now=f"x{status.slowdown:.3g}" if meters.speed else "-",
        label=Source.MEASURED.value if meters.speed else "taken for 1: rated speed",
    )
    flags = meters.throttle.read() if meters.throttle else None
    yield Gauge(
        figure="throttling",
        read_from=meters.throttle.label if meters.throttle else "no Raspberry Pi firmware found",
        now="-" if flags is None else f"now: {_names(flags.now)}; since the start: {_names(flags.since_start)}",
        label=Source.MEASURED.value if flags else "taken for none",
    )
    celsius = status.temperature_c
    yield Gauge(
        figure="temperature",
        read_from=meters.thermometer.label if meters.thermometer else "no thermal zone found",
        now="-" if celsius is None else f"{celsius:.1f} C",
        label=Source.MEASURED.value if celsius is not None else "not shown",
    )
    memory = meters.memory.read() if meters.memory else None
    yield Gauge(
        figure="memory",
        read_from=meters.memory.label if meters.memory else "no /proc/meminfo found",
        now=f"{memory.available_bytes >> 20} of {memory.total_bytes >> 20} MiB free" if memory else "-",
        label=Source.MEASURED.value if memory else "not shown",
    )
    if meters.battery is not None:
        yield Gauge(
            figure="battery",
            read_from=meters.battery.label,
            now="not drained" if status.battery is None else f"{status.battery:.0%} left",
            label=Source.MEASURED.value,
        )


def _energy(meters: Meters) -> Gauge:
    if meters.power is None:
        found = "; ".join(meters.problems) or "no RAPL, no INA2xx found"
        label = f"{Source.ANALYTIC}: the profile's active power x processor time"
        return Gauge(figure="energy", read_from=found, now="-", label=label)
    return Gauge(
        figure="energy",
        read_from=f"{meters.power.label}: {meters.power.scope}",
        now=_reading(meters.power),
        label=f"{Source.MEASURED}: {attribution(meters.power).method} ({Source.ANALYTIC})",
    )


def _reading(meter: PowerMeter) -> str:
    if hasattr(meter, "read_uj"):
        energy_uj = meter.read_uj()
        return "-" if energy_uj is None else f"{energy_uj * 1e-6:.6g} J counted"
    power_mw = meter.read_mw()
    return "-" if power_mw is None else f"{power_mw:.4g} mW"


def _names(flags: tuple[str, ...]) -> str:
    return ", ".join(flags) or "none"
