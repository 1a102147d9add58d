"""The wall clocks of device and collector jump an hour back and forth while records flow.

The processes are real; what they read as the time of day is wrong by what a file says (see `tests.faults.jumping`). The
monotonic clock runs on, as it does in a real jump. Nothing may be lost, doubled, put in another order or resent for it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from collector.store import Store
from tamiyo_runtime.contracts.records import Decision, Event
from tests.faults.device import STORE
from tests.faults.jumping import jump, seen_by
from tests.faults.site import Site, eventually

pytestmark = [pytest.mark.broker, pytest.mark.slow]

JUMPS_S = (3600, -3600, 0, -3600, 3600, 0)


def jumps(folder: Path, rounds: int, *, pause_s: float) -> None:
    rng = random.Random(5)
    offset = folder / "offset"
    jump(offset, 0)
    # longer than the test takes and shorter than a jump: what is sent again was sent again for a jump
    patient = ["--ack-timeout-s", "600"]
    with Site("auto", folder, device_options=patient, launcher=["-m", "tests.faults.jumping", str(offset)]) as site:
        site.start("collector")
        site.await_collector()  # what is sent before is sent again after the time-out
        site.start("device")

        def stored() -> int:
            if not (folder / STORE).exists():
                return 0
            with Store(folder / STORE) as store:
                return store.counters()["records"]

        eventually(lambda: stored() > 0, "nothing was stored")
        for _ in range(rounds):
            for seconds in JUMPS_S:
                before = stored()
                jump(offset, seconds)
                eventually(lambda: stored() > before, f"nothing came through after a jump to {seconds:+d} s")  # noqa: B023
                time.sleep(rng.uniform(0.0, pause_s))
        assert site.ended() == []
        verdict = site.finish()
    print(f"{rounds * len(JUMPS_S)} jumps of the wall clock: {verdict}")
    assert verdict.boots == 1
    assert verdict.lost == {}
    assert verdict.stored == verdict.committed > 100
    assert verdict.repeats == 0
    with Store(folder / STORE) as store:
        assert [row for row in store.events() if row[1].event is Event.LINK_LOST] == []
        rows = list(store.records(Decision))
        assert [row.record.t_ms for row in rows] == sorted(row.record.t_ms for row in rows)
        received_s = [row.received_s for row in rows]
        assert max(received_s) - min(received_s) < 600.0  # the collector goes by a clock that does not jump
    assert {float(line) for line in seen_by(offset).read_text().split()} == {float(seconds) for seconds in JUMPS_S}


def test_jumps_of_the_wall_clock_change_nothing(tmp_path: Path) -> None:
    jumps(tmp_path, 1, pause_s=0.1)


@pytest.mark.long
def test_sixty_jumps_of_the_wall_clock_change_nothing(tmp_path: Path) -> None:
    jumps(tmp_path, 10, pause_s=1.0)
