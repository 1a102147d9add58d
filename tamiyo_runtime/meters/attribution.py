"""How much of what a meter saw belongs to one inference.

No meter is as fine as an inference is short, so there are three answers, and each figure says which it got:

* an energy counter, and an inference of at least ``LONG`` of its steps: the difference of two readings, off by at most
  one step in twenty, 5 %;
* a counter, and shorter inferences back to back: mean power times the measured latency. The mean is that of the last
  stretch of a hundred steps or more in which the board was inferring for nine tenths of the time, so it is low by at
  most a tenth of what inferring draws above waiting, and 1 % either way;
* a sensor of power, which shows an average over its interval, up to one interval old: the mean of its readings times
  the latency. A reading counts only where the inference before it took two intervals, or the board was inferring for
  nine tenths of the time since the last reading.

Short inferences with pauses in between have no answer: a counter's step holds what the board drew in the pause before
as well, and a mean over both belongs to neither. There, and until there has been a reading, the answer is None and the
profile's estimate stands, as an estimate. One mean serves all configurations: a board draws much the same power
whichever graph its cores work on.

Reading takes time, a few us for a counter and up to a ms for a sensor on a bus. Readings for means are a tenth of a
second apart at the least, and no reading falls inside the time of an inference.
"""

from __future__ import annotations

import math
from typing import Protocol, cast

from tamiyo_runtime.meters.ports import EnergyCounter, PowerMeter, PowerSensor

LONG = 20
BUSY_SHARE = 0.9
_STRETCH_STEPS = 100
_EVERY_NS = 100_000_000
_NEW_SHARE = 0.1  # of a sensor's new reading in its mean


class Attribution(Protocol):
    """Called around every inference: ``before``, the work, ``after``. ``method`` says in words how it is done."""

    method: str

    def before(self, expected_ms: float) -> None:
        """An inference that is expected to take so long begins."""

    def after(self, ended_ns: int, latency_ms: float) -> float | None:
        """It has ended; its energy in uJ, or None when the meter cannot tell."""


class ByCounter:
    """With an `EnergyCounter`."""

    def __init__(self, counter: EnergyCounter) -> None:
        self._counter = counter
        self._long_ms = LONG * counter.interval_ms
        self._every_ns = max(_EVERY_NS, round(_STRETCH_STEPS * counter.interval_ms * 1e6))
        self.method = (
            f"difference of readings for inferences of {self._long_ms:g} ms and more; "
            "for shorter ones mean power while back to back x latency, else the profile's estimate"
        )
        self._before_uj: float | None = None
        self._next_ns = 0
        self._stretch: tuple[int, float] | None = None
        self._busy_ms = 0.0
        self._power_mw: float | None = None

    def before(self, expected_ms: float) -> None:
        """Read the counter when the inference is long enough for it."""
        if expected_ms >= self._long_ms:
            self._before_uj = self._counter.read_uj()

    def after(self, ended_ns: int, latency_ms: float) -> float | None:
        """Energy of this inference."""
        self._busy_ms += latency_ms
        if self._before_uj is not None:
            before_uj, self._before_uj = self._before_uj, None
            now_uj = self._counter.read_uj()
            if now_uj is not None and latency_ms >= self._long_ms:
                return now_uj - before_uj
        if ended_ns >= self._next_ns:
            self._end_stretch(ended_ns)
        return None if self._power_mw is None else self._power_mw * latency_ms

    def _end_stretch(self, now_ns: int) -> None:
        now_uj = self._counter.read_uj()
        if now_uj is not None and self._stretch is not None:
            since_ns, before_uj = self._stretch
            elapsed_ms = (now_ns - since_ns) * 1e-6
            if self._busy_ms >= BUSY_SHARE * elapsed_ms:
                self._power_mw = (now_uj - before_uj) / elapsed_ms
        self._stretch = None if now_uj is None else (now_ns, now_uj)
        self._busy_ms = 0.0
        self._next_ns = now_ns + self._every_ns


class BySensor:
    """With a `PowerSensor`."""

    def __init__(self, sensor: PowerSensor) -> None:
        self._sensor = sensor
        self._pure_ms = 2 * sensor.interval_ms
        self._every_ns = max(_EVERY_NS, round(self._pure_ms * 1e6))
        self.method = (
            f"mean power x latency, of readings (each an average over {sensor.interval_ms:g} ms) after inferences of "
            f"{self._pure_ms:g} ms and more or back to back, else the profile's estimate"
        )
        self._next_ns = 0
        self._since_ns: int | None = None
        self._busy_ms = 0.0
        self._power_mw: float | None = None

    def before(self, expected_ms: float) -> None:
        """Nothing to read yet."""

    def after(self, ended_ns: int, latency_ms: float) -> float | None:
        """Energy of this inference."""
        self._busy_ms += latency_ms
        if ended_ns >= self._next_ns:
            elapsed_ms = math.inf if self._since_ns is None else (ended_ns - self._since_ns) * 1e-6
            if latency_ms >= self._pure_ms or self._busy_ms >= BUSY_SHARE * elapsed_ms:
                self._learn(self._sensor.read_mw())
            self._since_ns, self._busy_ms = ended_ns, 0.0
            self._next_ns = ended_ns + self._every_ns
        return None if self._power_mw is None else self._power_mw * latency_ms

    def _learn(self, power_mw: float | None) -> None:
        if power_mw is not None:
            before_mw = power_mw if self._power_mw is None else self._power_mw
            self._power_mw = before_mw + _NEW_SHARE * (power_mw - before_mw)


class Total:
    """What the meter saw from the first call of `update` to the last: the whole, pauses included."""

    def __init__(self, meter: PowerMeter) -> None:
        self._meter = meter
        self._since_s: float | None = None
        self._until_s = 0.0
        self._first_uj: float | None = None
        self.energy_uj = 0.0

    @property
    def seconds(self) -> float:
        """Time that the energy was spent in."""
        return 0.0 if self._since_s is None else self._until_s - self._since_s

    def update(self, now_s: float) -> None:
        """Read the meter. A sensor's reading stands for the time since the one before."""
        if is_counter(self._meter):
            reading = cast(EnergyCounter, self._meter).read_uj()
            if reading is None:
                return
            self._first_uj = reading if self._first_uj is None else self._first_uj
            self.energy_uj = reading - self._first_uj
        else:
            reading = cast(PowerSensor, self._meter).read_mw()
            if reading is None:
                return
            if self._since_s is not None:
                self.energy_uj += reading * (now_s - self._until_s) * 1e3
        self._since_s = now_s if self._since_s is None else self._since_s
        self._until_s = now_s


def attribution(meter: PowerMeter) -> Attribution:
    """The way that suits the meter."""
    return ByCounter(cast(EnergyCounter, meter)) if is_counter(meter) else BySensor(cast(PowerSensor, meter))


def is_counter(meter: PowerMeter) -> bool:
    """Whether it counts energy, and is no sensor of power."""
    return hasattr(meter, "read_uj")
