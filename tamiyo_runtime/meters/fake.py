"""A board made of files: the pseudo file systems that the readers expect, in a folder, with values that move.

For tests, and for trying out what a board without a power meter at hand would do:

    fake = FakeBoard(folder)
    fake.rapl({"package-0": 0})
    meters = find_meters(fake.root)
    fake.advance(0.1, power_mw=15_000)

The trees follow the kernel's documentation, file by file; none was recorded on a device. `FakeBoard.history` keeps
every change of a value, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POWERCAP = "sys/class/powercap"
_FREQUENCY = "sys/devices/system/cpu/cpufreq/policy0"


@dataclass(frozen=True, slots=True)
class Change:
    """One value that was set, at a time of the fake's own clock."""

    t_s: float
    path: str
    text: str


class FakeBoard:
    """A tree under ``root``, and the time in it, which moves by `advance` only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.history: list[Change] = []
        self._now_ns = 0
        self._counters: list[_Counter] = []
        self._sensors: list[str] = []
        self._shown: dict[str, str] = {}

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self._now_ns * 1e-9

    def now_ns(self) -> int:
        """Nanoseconds since the beginning."""
        return self._now_ns

    def sleep_until(self, when_s: float) -> None:
        """Let time pass, at no power; with `now_s`, this makes the fake a `Clock`."""
        self.advance(max(0.0, when_s - self.now_s()), power_mw=0.0)

    def set(self, path: str, value: object) -> None:
        """Write an attribute, making its folders."""
        file, text = self.root / path, str(value)
        if self._shown.get(path) == text:
            return
        if path not in self._shown:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")
        self._shown[path] = text
        self.history.append(Change(self.now_s(), path, text))

    def rapl(self, zones: Mapping[str, int], *, range_uj: int = 262_143_328_850) -> None:
        """Counters by name (``package-0``, ``dram``, ``psys``), each with its first reading in uJ.

        ``advance`` moves the first of them; each shows a new value every millisecond.
        """
        for index, (name, first_uj) in enumerate(zones.items()):
            folder = f"{_POWERCAP}/intel-rapl:{index}"
            self.set(f"{folder}/name", name)
            self.set(f"{folder}/max_energy_range_uj", range_uj)
            self.set(f"{folder}/energy_uj", first_uj)
            if index == 0:
                self._counters.append(_Counter(f"{folder}/energy_uj", float(first_uj), range_uj))

    def ina(self, chip: str = "ina219", *, power_mw: float = 0.0, update_interval_ms: int | None = None) -> None:
        """A monitor of power; ``advance`` sets what it shows."""
        folder = f"sys/class/hwmon/hwmon{len(self._sensors)}"
        self.set(f"{folder}/name", chip)
        self.set(f"{folder}/power1_input", round(power_mw * 1e3))
        if update_interval_ms is not None:
            self.set(f"{folder}/update_interval", update_interval_ms)
        self._sensors.append(f"{folder}/power1_input")

    def throttled(self, bits: int) -> None:
        """The flags of a Raspberry Pi's firmware."""
        self.set("sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits:x}")

    def thermal(self, zones: Sequence[tuple[str, float]]) -> None:
        """Thermal zones: type and temperature in degrees Celsius."""
        for index, (kind, temperature_c) in enumerate(zones):
            self.set(f"sys/class/thermal/thermal_zone{index}/type", kind)
            self.set(f"sys/class/thermal/thermal_zone{index}/temp", round(temperature_c * 1e3))

    def cpufreq(
        self, *, rated_mhz: int, present_mhz: int, allowed_mhz: int | None = None, governor: str = "ondemand"
    ) -> None:
        """Frequencies of the one policy."""
        self.set(f"{_FREQUENCY}/cpuinfo_max_freq", rated_mhz * 1000)
        self.set(f"{_FREQUENCY}/scaling_max_freq", (allowed_mhz or rated_mhz) * 1000)
        self.set(f"{_FREQUENCY}/scaling_cur_freq", present_mhz * 1000)
        self.set(f"{_FREQUENCY}/scaling_governor", governor)

    def memory(self, *, total_mib: int, available_mib: int, own_pages: int) -> None:
        """Memory of the machine and of this process."""
        lines = f"MemTotal: {total_mib << 10:>15} kB\nMemFree: 1 kB\nMemAvailable: {available_mib << 10} kB"
        self.set("proc/meminfo", lines)
        self.set("proc/self/statm", f"{3 * own_pages} {own_pages} 402 5 0 123 0")

    def battery(self, percent: int, *, status: str = "Discharging", name: str = "BAT0", scope: str = "System") -> None:
        """A battery, or, with the scope Device, that of something beside the board."""
        folder = f"sys/class/power_supply/{name}"
        for attribute, value in (("type", "Battery"), ("scope", scope), ("capacity", percent), ("status", status)):
            self.set(f"{folder}/{attribute}", value)

    def advance(self, seconds: float, *, power_mw: float) -> None:
        """Let time pass at a power: counters count, sensors show it."""
        self._now_ns += round(seconds * 1e9)
        for counter in self._counters:
            counter.true_uj += power_mw * seconds * 1e3
            self._show(counter, power_mw)
        for path in self._sensors:
            self.set(path, round(power_mw * 1e3))

    def _show(self, counter: _Counter, power_mw: float) -> None:
        """What the counter shows: its value at the last full millisecond, less full rounds."""
        since_step_ms = self._now_ns % 1_000_000 * 1e-6
        shown = int(counter.true_uj - power_mw * since_step_ms)
        if shown > counter.shown_uj:
            counter.shown_uj = shown
            self.set(counter.path, shown % counter.range_uj)


@dataclass(slots=True)
class _Counter:
    path: str
    true_uj: float
    range_uj: int
    shown_uj: int = 0
