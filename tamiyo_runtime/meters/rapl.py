"""RAPL: energy counters of x86 processors, through the kernel's power capping framework.

``/sys/class/powercap/intel-rapl:0`` is a processor package, ``intel-rapl:0:2`` a part of it; AMD's processors appear
under the same name. ``energy_uj`` counts up to ``max_energy_range_uj`` and begins again; the hardware renews it about
once in a millisecond. Since 2020 only root may read it, because fine readings betray what others compute
(CVE-2020-8694). Source: the kernel's Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tamiyo_runtime.meters.pseudo import PseudoFile, folders, read_integer, read_text

INTERVAL_MS = 1.0
_FOLDER = "sys/class/powercap"


@dataclass(slots=True, kw_only=True)
class RaplZone:
    """One counter, without its wraps. Two of them between two readings would be one too many to notice."""

    name: str
    file: PseudoFile
    range_uj: int
    _last_uj: int | None = field(default=None, init=False)
    _base_uj: int = field(default=0, init=False)

    def read_uj(self) -> int | None:
        """Energy since the counter's start, or None."""
        now_uj = self.file.integer()
        if now_uj is None:
            return None
        if self._last_uj is not None and now_uj < self._last_uj:
            self._base_uj += self.range_uj
        self._last_uj = now_uj
        return self._base_uj + now_uj


class Rapl:
    """The sum of zones that do not overlap; an `EnergyCounter`."""

    interval_ms = INTERVAL_MS

    def __init__(self, zones: Sequence[RaplZone]) -> None:
        self._zones = tuple(zones)
        names = " + ".join(zone.name for zone in self._zones)
        self.label = f"RAPL {names}"
        whole = any(zone.name == "psys" for zone in self._zones)
        self.scope = "the platform" if whole else "processor and memory, not the rest of the board"

    def read_uj(self) -> float | None:
        """Energy of all zones, or None when one of them cannot be read."""
        total = 0
        for zone in self._zones:
            energy_uj = zone.read_uj()
            if energy_uj is None:
                return None
            total += energy_uj
        return float(total)


def find_rapl(root: Path) -> tuple[Rapl | None, str | None]:
    """The counters of this machine, and, where there are some that cannot be used, why.

    The whole platform (``psys``) where there is such a counter; else all packages and the memory beside them, which
    is not part of a package. Cores and graphics are parts of a package and would count twice.
    """
    parent = root / _FOLDER
    # The same package may appear a second time, read through memory (``intel-rapl-mmio``): the first way is enough.
    tops = folders(parent, "intel-rapl:[0-9]*") or folders(parent, "intel-rapl-mmio:[0-9]*")
    names = {path: read_text(path / "name") or "" for path in tops}
    whole = [path for path in tops if names[path] == "psys"]
    packages = [path for path in tops if names[path].startswith("package") and path.name.count(":") == 1]
    memory = [path for path in tops if names[path] == "dram"]
    for package in packages:  # in the class folder all zones lie side by side; below a package only its own
        memory += [path for path in folders(package, f"{package.name}:*") if read_text(path / "name") == "dram"]
    wanted = whole or packages + _distinct(memory)
    zones = []
    for path in wanted:
        try:
            file = PseudoFile(path / "energy_uj")
        except PermissionError:
            return None, f"only root may read {path / 'energy_uj'}: run as root, or chmod a+r it at every start"
        except OSError as exc:
            return None, f"cannot read {path / 'energy_uj'}: {exc.strerror}"
        range_uj = read_integer(path / "max_energy_range_uj")
        if file.integer() is None or not range_uj:
            return None, f"{path} gives no reading"
        zones.append(RaplZone(name=read_text(path / "name") or path.name, file=file, range_uj=range_uj))
    return (Rapl(zones), None) if zones else (None, None)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Without those that are reached in two ways."""
    return list({path.name: path for path in paths}.values())
