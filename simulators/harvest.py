"""Current from outside into a battery: constant, or the sun's.

`Solar` is a clear sky in its smallest form: the current of the panel goes as the sine of the sun's elevation, which
follows from latitude, day of the year and time, and a cloud lets ``through`` of it. Whether an hour is cloudy is a
Markov chain of two states, drawn at (seed, device, hour): with probability p + r the hour is drawn anew, cloudy with
p / (p + r), else it is as the hour before. Panel temperature, horizon, snow, and the thickness of air are left out.

A charge over a time is integrated exactly: elevation in closed form, clouds hour by hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulators.lorawan.streams import Purpose, uniforms
from tamiyo_runtime.contracts.document import require, require_finite

Floats = NDArray[np.float64]
HOUR_S, DAY_S = 3600.0, 86_400.0
_TILT = np.radians(23.44)
_LOOK_BACK_H = 24


class Harvest(Protocol):
    """What comes in, device by device. ``segment_s``: within one, the current that `mean_ma` gives is all there is."""

    @property
    def segment_s(self) -> float:
        """See above."""

    def mean_ma(self, devices: ArrayLike, start_s: float, end_s: float) -> Floats:
        """Mean current from ``start_s`` to ``end_s`` of the simulation, (devices,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same current at any time; 0 for none at all."""

    current_ma: float
    segment_s: float = np.inf

    def __post_init__(self) -> None:
        require_finite(current_ma=self.current_ma)
        require(self.current_ma >= 0, "current_ma", f"must not be negative, got {self.current_ma}")

    def mean_ma(self, devices: ArrayLike, start_s: float, end_s: float) -> Floats:
        """That current."""
        return np.full(np.shape(devices), self.current_ma)


NONE = Constant(current_ma=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solar:
    """``peak_ma``: with the sun in the zenith of a clear sky. ``day``: of the year, at second 0, which is midnight.

    ``through``: share of the current that a cloud lets pass. ``clouding`` and ``clearing``: probabilities of a change
    within an hour (choices, not measurements: 40 % of hours are cloudy, in spells of 6 h 15 min on average).
    """

    peak_ma: float
    latitude_deg: float
    day: float = 80.0
    through: float = 0.25
    clouding: float = 0.1067
    clearing: float = 0.16
    seed: int = 0
    segment_s: float = HOUR_S

    def __post_init__(self) -> None:
        require_finite(peak_ma=self.peak_ma, latitude_deg=self.latitude_deg, day=self.day)
        require(self.peak_ma >= 0, "peak_ma", f"must not be negative, got {self.peak_ma}")
        require(-90 <= self.latitude_deg <= 90, "latitude_deg", f"must be in [-90, 90], got {self.latitude_deg}")
        require(0 <= self.day <= 366, "day", f"must be in [0, 366], got {self.day:g}")
        require(0 <= self.through <= 1, "through", f"must be in [0, 1], got {self.through}")
        require(0 <= self.clouding <= 1 and 0 <= self.clearing <= 1, "clouding", "probabilities must be in [0, 1]")
        require(0 < self.clouding + self.clearing <= 1, "clouding", "must sum with clearing to (0, 1]")

    def mean_ma(self, devices: ArrayLike, start_s: float, end_s: float) -> Floats:
        """Integrated hour by hour; at ``end_s`` = ``start_s`` it is 0."""
        hours = np.arange(int(start_s // HOUR_S), int(np.ceil(end_s / HOUR_S)))
        edges = np.clip(np.append(hours, hours[-1:] + 1) * HOUR_S, start_s, end_s)
        clear = self._clear_s(edges[:-1], edges[1:])
        passed = np.where(self.cloudy(devices, hours), self.through, 1.0)
        seconds = end_s - start_s
        return np.asarray(self.peak_ma * (passed @ clear) / seconds if seconds > 0 else np.zeros(np.shape(devices)))

    def cloudy(self, devices: ArrayLike, hours: ArrayLike) -> NDArray[np.bool_]:
        """Whether these hours are cloudy, (devices, hours)."""
        asked, number = np.asarray(hours, dtype=np.int64), np.asarray(devices, dtype=np.int64)
        if not asked.size:
            return np.zeros((*number.shape, 0), dtype=np.bool_)
        total, back = self.clouding + self.clearing, _LOOK_BACK_H
        while True:  # back to an hour in which each device's sky was drawn anew
            span = np.arange(max(0, int(asked.min()) - back), int(asked.max()) + 1)
            anew, state = uniforms(self.seed, Purpose.CLOUD, number[..., None], span)
            drawn = (anew < total) | (span == 0)  # the first hour is of the long run
            last = np.maximum.accumulate(np.where(drawn, span, -1), axis=-1)[..., asked - span[0]]
            if (last >= 0).all():
                break
            back *= 8
        wet = state < self.clouding / total
        return np.asarray(np.take_along_axis(wet, last - span[0], axis=-1))

    def _clear_s(self, start_s: Floats, end_s: Floats) -> Floats:
        """Seconds of full sun that a stretch within one day is worth: the integral of the elevation's sine above 0."""
        latitude = np.radians(self.latitude_deg)
        declination = -_TILT * np.cos(2 * np.pi * (self.day + start_s // DAY_S + 10) / 365.25)
        base, swing = np.sin(latitude) * np.sin(declination), np.cos(latitude) * np.cos(declination)
        with np.errstate(divide="ignore", invalid="ignore"):
            half = np.arccos(np.clip(np.where(swing > 0, -base / swing, -np.sign(base)), -1.0, 1.0))  # of the day's arc
        turn = 2 * np.pi / DAY_S
        midnight = start_s // DAY_S * DAY_S
        low, high = ((edge - midnight) * turn - np.pi for edge in (start_s, end_s))  # 0 is noon
        low, high = np.clip(low, -half, half), np.clip(high, -half, half)
        return np.asarray((base * (high - low) + swing * (np.sin(high) - np.sin(low))) / turn)
