"""What a machine has to be measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.meters.battery import find_battery
from tamiyo_runtime.meters.hwmon import find_hwmon
from tamiyo_runtime.meters.ports import BatteryGauge, MemoryGauge, PowerMeter, SpeedGauge, Thermometer, ThrottleGauge
from tamiyo_runtime.meters.processor import find_cpufreq, find_memory, find_thermometer
from tamiyo_runtime.meters.rapl import find_rapl
from tamiyo_runtime.meters.raspberry import find_throttle

ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """The readers that work here, None where there is none. ``problems``: meters that are there but cannot be used."""

    power: PowerMeter | None = None
    thermometer: Thermometer | None = None
    throttle: ThrottleGauge | None = None
    speed: SpeedGauge | None = None
    memory: MemoryGauge | None = None
    battery: BatteryGauge | None = None
    problems: tuple[str, ...] = ()


def find_meters(root: Path = ROOT) -> Meters:
    """Look for every kind of meter below ``root``, each tried once; raises nothing.

    A monitor on the supply comes before the processor's own counters: it sees the whole board.
    """
    sensor, sensor_problem = find_hwmon(root)
    counter, counter_problem = (None, None) if sensor else find_rapl(root)
    return Meters(
        power=sensor or counter,
        thermometer=find_thermometer(root),
        throttle=find_throttle(root),
        speed=find_cpufreq(root),
        memory=find_memory(root),
        battery=find_battery(root),
        problems=tuple(problem for problem in (sensor_problem, counter_problem) if problem),
    )
