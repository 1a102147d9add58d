"""The clocks that a simulated board can run at, slowest first, and which of them it runs at when hot.

Where a profile names operating points (`device_profiles.points`) they are the steps of the ladder. Where it does not,
but says how much slower a hot board is, the ladder has two steps of one power; where it knows nothing, one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.profile import ProfileSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One clock. ``stretch`` multiplies rated latencies, but for what keeps to no clock; powers are the board's.

    ``clock_mhz`` None: nobody said which, only how much slower.
    """

    stretch: float
    active_mw: float
    idle_mw: float
    clock_mhz: float | None = None

    def __post_init__(self) -> None:
        require_finite(stretch=self.stretch, active_mw=self.active_mw, clock_mhz=self.clock_mhz)
        require(self.stretch > 0, "stretch", f"must be above 0, got {self.stretch}")
        require(0 <= self.idle_mw <= self.active_mw, "idle_mw", f"must be in [0, {self.active_mw}], got {self.idle_mw}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Steps from the slowest to the fastest. ``top``: the fastest that the board may take; it may be below the rated.

    ``rated``: the step that costs were estimated at.
    """

    steps: tuple[Step, ...]
    rated: int
    top: int

    def __post_init__(self) -> None:
        stretches = [step.stretch for step in self.steps]
        require(stretches == sorted(stretches, reverse=True) and bool(stretches), "steps", "must be slowest first")
        require(0 <= self.top < len(self.steps), "top", f"must be below {len(self.steps)}, got {self.top}")
        require(0 <= self.rated < len(self.steps), "rated", f"must be below {len(self.steps)}, got {self.rated}")

    @classmethod
    def of(cls, snapshot: ProfileSnapshot, *, clock_mhz: float | None = None) -> Ladder:
        """The ladder of a profile; ``clock_mhz``: the fastest clock allowed, None for the rated one.

        Raises UsageError for a clock that the profile does not name.
        """
        points: Sequence[Mapping[str, Any]] = snapshot.extra.get("points") or ()
        if not points:
            if clock_mhz is not None:
                raise UsageError(
                    f"the profile '{snapshot.id}' names no operating points",
                    hint="leave out mhz, or add [points.NAME] tables to the profile",
                )
            return cls._without_points(snapshot)
        rated = next(index for index, point in enumerate(points) if point["rated"])
        rated_mhz = points[rated]["clock_mhz"]
        steps = tuple(
            Step(
                stretch=rated_mhz / point["clock_mhz"],
                active_mw=point["active_mw"],
                idle_mw=point["idle_mw"],
                clock_mhz=point["clock_mhz"],
            )
            for point in points
        )
        return cls(steps=steps, rated=rated, top=rated if clock_mhz is None else _at(steps, clock_mhz, snapshot.id))

    @classmethod
    def _without_points(cls, snapshot: ProfileSnapshot) -> Ladder:
        """One power at every speed: that is all that such a profile knows."""
        heat: Mapping[str, float] = snapshot.extra.get("thermal") or {}
        stretches = [heat["throttled_slowdown"], 1.0] if heat else [1.0]
        steps = tuple(
            Step(stretch=stretch, active_mw=snapshot.active_mw, idle_mw=snapshot.idle_mw) for stretch in stretches
        )
        return cls(steps=steps, rated=len(steps) - 1, top=len(steps) - 1)

    @property
    def fastest(self) -> Step:
        """What the board runs at while it is cool."""
        return self.steps[self.top]


def _at(steps: Sequence[Step], clock_mhz: float, profile: str) -> int:
    for index, step in enumerate(steps):
        if step.clock_mhz == clock_mhz:
            return index
    known = ", ".join(f"{step.clock_mhz:g}" for step in steps)
    raise UsageError(f"'{profile}' has no operating point at {clock_mhz:g} MHz", hint=f"it has {known} MHz")
