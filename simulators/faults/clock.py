"""A clock that goes wrong: fast or slow by so many parts in a million, and more so when it is hot or cold.

A 32 kHz tuning fork, which is what boards without a better one count by, goes as a parabola of temperature,

    ppm(T) = ppm + curvature (T - turnover)^2        curvature -0.034 ppm/K^2, turnover 25 C

as the data sheets of such crystals have it. The device's clock is the only time that its program knows: schedules,
deadlines and time stamps follow it. The world, and what simulates it, go by `true_s`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.meters import VirtualClock

CURVATURE_PPM_PER_K2, TURNOVER_C = -0.034, 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What a clock gains, in parts in a million, at 25 C and away from it; ``temperature_c`` None: it stays at 25 C."""

    ppm: float
    temperature_c: float | None = None
    curvature: float = CURVATURE_PPM_PER_K2

    def __post_init__(self) -> None:
        require_finite(ppm=self.ppm, temperature_c=self.temperature_c, curvature=self.curvature)
        if self.temperature_c is not None:
            require(
                abs(self.temperature_c) <= 200, "temperature_c", f"must be in [-200, 200], got {self.temperature_c:g}"
            )
        require(abs(self.total_ppm) < 1e5, "ppm", f"{self.total_ppm:g} is no clock any more")

    @property
    def total_ppm(self) -> float:
        """What it gains at its temperature."""
        away = 0.0 if self.temperature_c is None else self.temperature_c - TURNOVER_C
        return self.ppm + self.curvature * away**2


class DriftingClock(VirtualClock):
    """A virtual clock that shows the device's time; both clocks agree at the start.

    `advance` lets true seconds pass, `sleep_until` waits for the device's.
    """

    def __init__(self, drift: Drift, start_s: float = 0.0) -> None:
        super().__init__(start_s)
        self._rate = 1 + drift.total_ppm * 1e-6
        self._true_s = start_s

    @property
    def true_s(self) -> float:
        """The world's time."""
        return self._true_s

    def advance(self, seconds: float) -> None:
        """Move forward by true seconds; raises ValueError on a negative step."""
        super().advance(seconds * self._rate)
        self._true_s += seconds

    def sleep_until(self, when_s: float) -> None:
        """Jump to ``when_s`` of the device if that lies ahead."""
        ahead_s = when_s - self.now_s()
        if ahead_s > 0:
            super().sleep_until(when_s)
            self._true_s += ahead_s / self._rate


def true_s(clock: VirtualClock) -> float:
    """The world's time, which is the clock's own unless it drifts."""
    return clock.true_s if isinstance(clock, DriftingClock) else clock.now_s()
