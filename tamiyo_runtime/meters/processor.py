"""How hot, how fast and how full: thermal zones, cpufreq, and the memory files of ``/proc``.

Sources: the kernel's Documentation/driver-api/thermal/sysfs-api.rst, Documentation/admin-guide/pm/cpufreq.rst and
Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tamiyo_runtime.meters.ports import Memory
from tamiyo_runtime.meters.pseudo import PseudoFile, folders, read_integer, read_text

_PROCESSOR = re.compile(r"cpu|x86_pkg|soc|package|core|cluster|big|little", re.IGNORECASE)
_MEM = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", re.MULTILINE)


class ThermalZones:
    """The hottest of some zones; a `Thermometer`."""

    def __init__(self, files: Sequence[PseudoFile], label: str) -> None:
        self.label = label
        self._files = tuple(files)

    def read_c(self) -> float | None:
        """Degrees Celsius; the kernel gives thousandths. Zones without a reading are left out."""
        readings = [value for file in self._files if (value := file.integer()) is not None]
        return max(readings) * 1e-3 if readings else None


def find_thermometer(root: Path) -> ThermalZones | None:
    """The zones of the processor by their type (``cpu-thermal``, ``x86_pkg_temp``), or all where none is named so."""
    found: list[tuple[str, PseudoFile]] = []
    for folder in folders(root / "sys/class/thermal", "thermal_zone*"):
        try:
            file = PseudoFile(folder / "temp")
        except OSError:
            continue
        if file.integer() is not None:
            found.append((read_text(folder / "type") or folder.name, file))
    chosen = [item for item in found if _PROCESSOR.search(item[0])] or found
    if not chosen:
        return None
    return ThermalZones([file for _, file in chosen], ", ".join(dict.fromkeys(name for name, _ in chosen)))


class CpuFreq:
    """Frequencies of the fastest policy; a `SpeedGauge`.

    The present frequency says nothing by itself: between inferences the governor lowers it to save power. What counts
    is ``scaling_max_freq``, which cooling and users lower; and the present one where the firmware says that it
    throttles, or where the governor never raises it.
    """

    def __init__(self, folder: Path) -> None:
        """Open the attributes of one policy; raises OSError."""
        rated = read_integer(folder / "cpuinfo_max_freq")
        if not rated or rated < 0:
            raise FileNotFoundError(2, "no rated frequency", str(folder / "cpuinfo_max_freq"))
        self.label = f"cpufreq {folder.name if folder.name != 'cpufreq' else folder.parent.name}, {rated / 1e6:.3g} GHz"
        self.rated_khz = rated
        self._allowed = PseudoFile(folder / "scaling_max_freq")
        self._present = PseudoFile(folder / "scaling_cur_freq")
        governor, driver = read_text(folder / "scaling_governor"), read_text(folder / "scaling_driver") or ""
        # In the drivers intel_pstate and amd-pstate "powersave" is the name of a governor that does raise it.
        self._fixed = governor == "userspace" or (governor == "powersave" and "pstate" not in driver)

    def read_slowdown(self, *, throttled: bool) -> float | None:
        """Rated frequency over the one in force, 1 or more."""
        candidates = [self._allowed.integer()]
        if throttled or self._fixed:
            candidates.append(self._present.integer())
        known = [value for value in candidates if value is not None and value > 0]
        return max(1.0, self.rated_khz / min(known)) if known else None


def find_cpufreq(root: Path) -> CpuFreq | None:
    """The policy with the highest rated frequency: on processors of two kinds, that of the fast cores."""
    parent = root / "sys/devices/system/cpu"
    found = []
    for folder in folders(parent / "cpufreq", "policy*") or [parent / "cpu0/cpufreq"]:
        try:
            found.append(CpuFreq(folder))
        except OSError:
            continue
    return max(found, key=lambda item: item.rated_khz, default=None)


class ProcMemory:
    """``/proc/meminfo`` and ``/proc/self/statm``; a `MemoryGauge`."""

    label = "/proc/meminfo"

    def __init__(self, root: Path) -> None:
        """Open both; raises OSError."""
        self._machine = PseudoFile(root / "proc/meminfo")
        self._own = PseudoFile(root / "proc/self/statm")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def read(self) -> Memory | None:
        """Bytes now. statm counts pages; its second figure is what is resident."""
        figures = {name: int(kib) << 10 for name, kib in _MEM.findall(self._machine.text() or "")}
        own = (self._own.text() or "").split()
        if figures.keys() != {"MemTotal", "MemAvailable"} or len(own) < 2 or not own[1].isdigit():
            return None
        return Memory(
            total_bytes=figures["MemTotal"],
            available_bytes=figures["MemAvailable"],
            own_bytes=int(own[1]) * self._page_bytes,
        )


def find_memory(root: Path) -> ProcMemory | None:
    """Memory, on Linux."""
    try:
        gauge = ProcMemory(root)
    except OSError:
        return None
    return gauge if gauge.read() is not None else None
