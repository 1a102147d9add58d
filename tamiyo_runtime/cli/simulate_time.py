"""How long a simulation will take, said before it begins, so that nobody waits for hours without knowing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tamiyo_runtime.contracts.units import duration, plural

if TYPE_CHECKING:
    from simulators.fleet.forecast import Forecast
    from simulators.fleet.resolve import Resolved

ERROR = "estimate, within a factor of 3 on a machine of today"
LONG_S = 60.0
"""What takes longer is announced."""
_DETAIL_S = 0.1  # of a core for a day of a device that runs in detail, at the least


def detail_s(resolved: Resolved, *, workers: int = 1) -> float:
    """Seconds that the devices which run in detail take at the least."""
    scenario = resolved.scenario
    devices = sum(min(scenario.sample, group.count) for group in scenario.devices)
    return devices * scenario.days * _DETAIL_S / workers


def announcement(resolved: Resolved, expected: Forecast, *, workers: int) -> str | None:
    """What to say before a run that takes long, None of one that does not."""
    detail = detail_s(resolved, workers=workers)
    if expected.seconds + detail < LONG_S:
        return None
    said = f"takes about {duration(expected.seconds)} with {plural(workers, 'worker')} ({ERROR})"
    if detail:
        said += f", then {duration(detail)} or more for the devices in detail"
    return f"{said}; fewer --days, devices or messages take less, and so do more --workers"
