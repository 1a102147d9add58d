"""The ports between the runtime's core and a board, and between a board and what it is measured with.

A reader of a meter answers None when it has no reading: a sensor on a bus may be busy, a file may vanish. None of
them raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tamiyo_runtime.contracts.cost import Cost, Source
from tamiyo_runtime.meters.clock import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one inference took, and where each figure comes from."""

    latency_ms: float
    energy_uj: float
    latency_source: Source
    energy_source: Source


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """State of the board between inferences. ``slowdown`` multiplies rated latencies (1.0 = rated speed).

    ``memory_bytes``: what of its memory is left; ``battery``: share of its charge that is left. None where nobody can
    tell, or there is none.
    """

    slowdown: float
    temperature_c: float | None
    throttled: bool
    memory_bytes: int | None = None
    battery: float | None = None


class Board(Protocol):
    """A device that does work. ``label`` is printed beside every figure that comes from it."""

    label: str
    clock: Clock

    def run(self, work: Callable[[], T], cost: Cost) -> tuple[T, Usage]:
        """Do the work, whose expected cost on the profile is ``cost``; return its result and what it took."""

    def lap(self, expected_ms: float) -> float:
        """Called by the work after each of its parts; how long it has taken so far, in ms.

        ``expected_ms``: the part's cost on the profile. Work that calls this calls it after all of its parts.
        """

    def status(self) -> BoardStatus:
        """State of the board now."""


class EnergyCounter(Protocol):
    """Counts energy, in steps: a new value every ``interval_ms``. ``scope`` says what of the board it covers."""

    label: str
    scope: str
    interval_ms: float

    def read_uj(self) -> float | None:
        """Energy since an arbitrary start; never goes back."""


class PowerSensor(Protocol):
    """Tells power, averaged over the last ``interval_ms``. ``scope`` says what of the board it covers."""

    label: str
    scope: str
    interval_ms: float

    def read_mw(self) -> float | None:
        """Power now."""


PowerMeter = EnergyCounter | PowerSensor


class Thermometer(Protocol):
    """Tells how hot the processor is."""

    label: str

    def read_c(self) -> float | None:
        """Degrees Celsius."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttling:
    """What holds the processor back now, and what has since the board was started; names as in ``FLAGS``."""

    now: tuple[str, ...]
    since_start: tuple[str, ...]

    @property
    def slows(self) -> bool:
        """Whether the clock is held down now. Low voltage by itself slows nothing."""
        return any(flag != "under-voltage" for flag in self.now)


class ThrottleGauge(Protocol):
    """Tells whether the firmware holds the processor back."""

    label: str

    def read(self) -> Throttling | None:
        """Flags now."""


class SpeedGauge(Protocol):
    """Tells how fast the processor is allowed to run."""

    label: str

    def read_slowdown(self, *, throttled: bool) -> float | None:
        """Rated frequency over the one in force. ``throttled``: the firmware says that it holds the clock down."""


class BatteryGauge(Protocol):
    """Tells how much the battery still holds."""

    label: str

    def read_share(self) -> float | None:
        """Of its charge that is left, 0..1, while it is drained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of the machine, and of this process (resident)."""

    total_bytes: int
    available_bytes: int
    own_bytes: int


class MemoryGauge(Protocol):
    """Tells how much memory there is and is left."""

    label: str

    def read(self) -> Memory | None:
        """Memory now."""
