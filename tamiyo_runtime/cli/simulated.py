"""What is simulated of a run: its board, the faults in it, and its starting again when the power comes back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING

from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.meters import find_meters, host_board
from tamiyo_runtime.sources import length_of
from tamiyo_runtime.sources.base import Sample, Source

if TYPE_CHECKING:
    from simulators.faults.outage import PowerLost
    from simulators.faults.rig import Rig
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.cli.field import FieldRun
    from tamiyo_runtime.cli.field_terms import FieldRequest
    from tamiyo_runtime.meters import Board
    from tamiyo_runtime.mission import Mission


def rig_of(request: FieldRequest) -> Rig | None:
    """The faults that ``--fault`` asks for; None for this machine as it is, which needs nothing of the simulators.

    They would take 2 MiB of its memory. Raises as `simulators.faults.kinds.rig_of` does.
    """
    if request.device == "host" and not request.faults and not request.throttle:
        return None
    from simulators.faults.kinds import rig_of as asked_for

    return asked_for(request.faults)


def open_board(bundle: Bundle, request: FieldRequest, rig: Rig | None) -> Board:
    """The board that ``--device``, ``--throttle`` and ``--fault`` ask for; raises as `parse_device` does."""
    if rig is None:
        return host_board(bundle.manifest.profile, find_meters())
    from simulators.devices import only, parse_device
    from simulators.throttle import Phase, ThrottleSchedule

    phases = [
        Phase(start_s=start, slowdown=slowdown, label=f"x{slowdown:g}") for start, slowdown in sorted(request.throttle)
    ]
    schedule = ThrottleSchedule(tuple(phases))
    return parse_device(request.device, only(bundle.manifest.profile), schedule=schedule, rig=rig, seed=request.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The board lost its power and came back; times in s on the world's clock, ``again_s`` when it worked again.

    ``samples``: how many it had worked on since the start before. ``missed``: how many came while it could not.
    """

    why: str
    at_s: float
    back_s: float
    again_s: float
    samples: int
    missed: int
    boot_uj: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a start leaves to the next one: the board, how many samples have gone by, and what happened so far."""

    board: Board
    gone: int
    restarts: tuple[Restart, ...]


class Later:
    """A recording from some sample on; from the front again after its end, as often as it takes."""

    def __init__(self, source: Source, gone: int) -> None:
        self.label, self._source, self._gone = source.label, source, gone

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Sample]:
        place = self._gone % len(self._source)
        return islice(chain(islice(self._source, place, None), cycle(self._source)), len(self._source))


def after_loss(field: FieldRun, lost: PowerLost, done: int) -> Rest:
    """Let the time without power pass and the board boot; raises UsageError when it never comes back.

    ``done``: samples of this start.
    """
    from simulators.device import SimulatedBoard
    from simulators.faults.clock import true_s
    from simulators.faults.outage import PowerLost
    from tamiyo_runtime.meters import VirtualClock

    board, before = field.board, field.rest
    assert isinstance(board, SimulatedBoard)
    assert isinstance(board.clock, VirtualClock)
    try:
        boot_uj = board.power_up(lost)
    except PowerLost as again:
        raise UsageError(
            f"{again}: the battery does not recover",
            hint="a larger battery or harvest, a longer --period-ms, or fewer --samples",
        ) from None
    period_s = field.plan.period_s
    gone = (before.gone if before else 0) + done
    if period_s > 0:  # the world goes on: what came while nobody was there is gone
        gone = max(gone, math.ceil(board.clock.now_s() / period_s))
    restart = Restart(
        why=lost.why,
        at_s=lost.at_s,
        back_s=lost.back_s,
        again_s=true_s(board.clock),
        samples=done,
        missed=gone - (before.gone if before else 0) - done,
        boot_uj=boot_uj,
    )
    return Rest(board=board, gone=gone, restarts=(*(before.restarts if before else ()), restart))


def left(field: FieldRun, rest: Rest) -> int:
    """How many samples there still are to work on."""
    total = field.request.plan.samples or length_of(field.source) or 0
    return max(0, total - rest.gone)


def rest_of_mission(field: FieldRun, rest: Rest) -> Mission | None:
    """The same mission as it stands after the board has its power back; None when it is over.

    What a gauge does not tell of the battery has gone evenly.
    """
    mission = field.request.plan.mission
    if mission is None:
        return None
    hours = mission.hours - rest.board.clock.now_s() / 3600.0
    if hours <= 0:
        return None
    gauged = rest.board.status().battery is not None
    battery_mwh = mission.battery_mwh * (1.0 if gauged else hours / mission.hours)
    return replace(mission, hours=hours, battery_mwh=battery_mwh, under_way=True)
