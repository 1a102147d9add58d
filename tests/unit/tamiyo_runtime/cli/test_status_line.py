"""The one line that says how a run stands."""

from __future__ import annotations

from tamiyo_runtime.cli.status_line import status_line
from tamiyo_runtime.contracts.records import Mode
from tamiyo_runtime.meters import BoardStatus
from tamiyo_runtime.sources.base import Intake, Loss
from tamiyo_runtime.summary import Tally, Turn


def test_the_status_line_shows_what_is_known_and_nothing_else() -> None:
    tally = Tally(["c1"])
    idle = Turn(tally, Mode.NORMAL, None, 1.0, BoardStatus(1.0, None, False), None)
    assert status_line(idle) == "normal, bucket 100%"
    for _ in range(9):
        tally.latency.add(2.0)
    tally.deadline_misses = 3
    tally.skips["skip_energy"] = 4
    intake = Intake(received=20, lost={Loss.QUEUE_FULL: 7}, state="not connected: refused")
    busy = Turn(tally, Mode.DEGRADED, "c10", 0.25, BoardStatus(1.5, 81.4, True), intake)
    assert status_line(busy) == (
        "degraded, c10, p50 2 ms, 3 missed, 4 skipped, bucket 25%, 81 C, throttled x1.5, queue_full 7, "
        "not connected: refused"
    )
