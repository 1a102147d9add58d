"""Power monitors on the I2C bus (INA219, INA226 and their family), through the kernel's hwmon framework.

The driver ``ina2xx`` gives ``power1_input`` in uW; ``ina3221`` gives, a channel, ``inN_input`` in mV and
``currN_input`` in mA, whose product is uW. A reading is a transfer over the bus and takes .3 to 1 ms, so it is nothing
for the path of every inference. Sources: the kernel's Documentation/hwmon/ina2xx.rst,
ina3221.rst and sysfs-interface.rst.
"""

from __future__ import annotations

from pathlib import Path

from tamiyo_runtime.meters.pseudo import PseudoFile, folders, read_integer, read_text

_FAMILY = {"ina209", "ina219", "ina220", "ina226", "ina230", "ina231", "ina233", "ina234", "ina237", "ina238", "ina260"}
_CHANNELS = {"ina3221"}
# Where the driver has no ``update_interval``: INA219 converts shunt and bus in 532 us each (12 bits, data sheet); the
# others are taken at the driver's default for INA226, 16 samples of 2 x 1.1 ms.
_INTERVAL_MS = {"ina209": 1.1, "ina219": 1.1, "ina220": 1.1}
_INTERVAL_OTHER_MS = 35.2
_SCOPE = "the supply that the monitor is wired to"


class HwmonPower:
    """A monitor that tells power itself; a `PowerSensor`."""

    scope = _SCOPE

    def __init__(self, chip: str, folder: Path) -> None:
        """Open ``power1_input``; raises OSError."""
        self.label = f"{chip} ({folder.name})"
        self.interval_ms = _interval_ms(chip, folder)
        self._power_uw = PseudoFile(folder / "power1_input")

    def read_mw(self) -> float | None:
        """Power, averaged by the chip."""
        power_uw = self._power_uw.integer()
        return None if power_uw is None else power_uw * 1e-3


class HwmonVoltsAmperes:
    """A channel that tells voltage and current; a `PowerSensor`."""

    scope = _SCOPE

    def __init__(self, chip: str, folder: Path, channel: int) -> None:
        """Open both files; raises OSError."""
        name = read_text(folder / f"in{channel}_label")
        self.label = f"{chip} {name or f'channel {channel}'} ({folder.name})"
        self.interval_ms = _interval_ms(chip, folder)
        self._voltage_mv = PseudoFile(folder / f"in{channel}_input")
        self._current_ma = PseudoFile(folder / f"curr{channel}_input")

    def read_mw(self) -> float | None:
        """Power; voltage and current come from two conversions, one after the other."""
        voltage_mv, current_ma = self._voltage_mv.integer(), self._current_ma.integer()
        return None if voltage_mv is None or current_ma is None else voltage_mv * current_ma * 1e-3


def find_hwmon(root: Path) -> tuple[HwmonPower | HwmonVoltsAmperes | None, str | None]:
    """The first power monitor, and, where there is one that cannot be used, why.

    Of several channels the one whose label has IN in it (Jetson boards: the board's whole input), else the first.
    """
    problem = None
    for folder in folders(root / "sys/class/hwmon", "hwmon*"):
        chip = read_text(folder / "name") or ""
        try:
            if chip in _FAMILY and (folder / "power1_input").exists():
                sensor: HwmonPower | HwmonVoltsAmperes = HwmonPower(chip, folder)
            elif chip in _FAMILY | _CHANNELS:
                sensor = HwmonVoltsAmperes(chip, folder, _channel(folder))
            else:
                continue
        except OSError as exc:
            problem = f"cannot read {exc.filename}: {exc.strerror}"
            continue
        if sensor.read_mw() is not None:
            return sensor, None
        problem = f"{chip} in {folder} gives no reading"
    return None, problem


def _channel(folder: Path) -> int:
    for channel in (1, 2, 3):
        name = (read_text(folder / f"in{channel}_label") or "").upper().replace("_", " ").split()
        if "IN" in name:
            return channel
    return 1


def _interval_ms(chip: str, folder: Path) -> float:
    """The driver's word in ms, else the chip's default."""
    stated_ms = read_integer(folder / "update_interval")
    return float(stated_ms) if stated_ms else _INTERVAL_MS.get(chip, _INTERVAL_OTHER_MS)
