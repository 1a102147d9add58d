"""The charge of the battery that a board hangs on: the kernel's power-supply class.

``/sys/class/power_supply/*`` with ``type`` Battery, unless its ``scope`` is Device: that is a mouse. While it is not
being drained there is nothing to save, and no reading.
"""

from __future__ import annotations

from pathlib import Path

from tamiyo_runtime.meters.pseudo import PseudoFile, folders, read_text

_CLASS = "sys/class/power_supply"
_DRAINED = "Discharging"


class Battery:
    """Its gauge's own percentage, 0 to 100; how good that is depends on the gauge."""

    def __init__(self, folder: Path) -> None:
        """Open its attributes; raises OSError."""
        self.label = f"battery {folder.name}"
        self._capacity, self._status = PseudoFile(folder / "capacity"), PseudoFile(folder / "status")

    def read_share(self) -> float | None:
        """Share of the charge that is left, None while it is not drained or does not tell."""
        percent = self._capacity.integer()
        if percent is None or not 0 <= percent <= 100 or self._status.text() != _DRAINED:
            return None
        return percent / 100


def find_battery(root: Path) -> Battery | None:
    """The first battery that this machine runs from; raises nothing."""
    for folder in folders(root / _CLASS, "*"):
        if read_text(folder / "type") == "Battery" and read_text(folder / "scope") != "Device":
            try:
                return Battery(folder)
            except OSError:
                continue
    return None
