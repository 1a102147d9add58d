"""A device that works until it is told to stop: real telemetry, made-up inferences, and a diary.

    python -m tests.faults.device URL FOLDER [--rate HZ] [--seed N] [--window-s S] [--spool-bytes N]

SIGTERM: deliver everything, say how that went (exit code 0 all acked, 3 not), end.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.records import Decision, Event, EventRecord, Mode, Reason
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import Clock, MonotonicClock, Usage
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.uplink import Pace
from tests.faults.diary import Diary

PACE = Pace(event_wait_s=0.02, metric_wait_s=0.02, ack_timeout_s=1.0, ack_timeout_cap_s=4.0)
FLEET, DEVICE = "test", "board-1"
SPOOL, DIARY, STORE = "spool.db", "diary.txt", "store.db"


def open_device(
    url: str | None,
    folder: Path,
    clock: Clock,
    *,
    pace: Pace = PACE,
    window_s: float = 0.05,
    samples_per_s: float = 1000.0,
    spool_bytes: int = 64 << 20,
    watch: Path | None = None,
) -> tuple[Telemetry, Diary]:
    """Telemetry over a spool in ``folder``; the diary lies in ``watch``, or beside the spool."""
    telemetry = open_telemetry(
        spool=folder / SPOOL,
        url=url,
        fleet=FLEET,
        device=DEVICE,
        bundle="0a0b0c0d",
        link=Ethernet(),
        clock=clock,
        pace=pace,
        window_s=window_s,
        samples_per_s=samples_per_s,
        spool_bytes=spool_bytes,
    )
    return telemetry, Diary.of((watch or folder) / DIARY, telemetry)


class Worker:
    """Makes records of every kind, each different from the others."""

    def __init__(self, telemetry: Telemetry, diary: Diary, seed: int) -> None:
        self._telemetry = telemetry
        self._diary = diary
        self._rng = random.Random(seed)
        self.steps = 0

    def step(self, now_s: float, *, pump: bool = True) -> None:
        rng, t_ms = self._rng, int(now_s * 1000)
        self._telemetry.inference(
            t_ms=t_ms,
            configuration=rng.choice(("c00", "c01", "c11")),
            usage=Usage(rng.uniform(1, 3), rng.uniform(1e3, 5e3), Source.SIMULATED, Source.SIMULATED),
            answer=rng.randrange(10),
            confidence=rng.random(),
            correct=rng.choice((True, False, None)),
            deadline_missed=rng.random() < 0.1,
        )
        if rng.random() < 0.2:
            self._telemetry.decision(
                Decision(
                    t_ms=t_ms,
                    proposed="c11",
                    granted="c00",
                    reason=Reason.ENERGY,
                    mode=Mode.NORMAL,
                    latency_left_permille=rng.randrange(1000),
                    bucket_permille=self.steps % 1000,
                )
            )
        if rng.random() < 0.01:
            self._telemetry.event(EventRecord(t_ms=t_ms, event=Event.MODE, value=self.steps, detail="safe"))
        if pump:
            self._telemetry.pump(now_s)
        self._diary.note()
        self.steps += 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window-s", type=float, default=0.05)
    parser.add_argument("--spool-bytes", type=int, default=64 << 20)
    parser.add_argument("--watch", type=Path)
    parser.add_argument("--ack-timeout-s", type=float, default=PACE.ack_timeout_s)
    parser.add_argument("--patience-s", type=float, default=60.0)
    options = parser.parse_args()
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    clock = MonotonicClock()
    telemetry, diary = open_device(
        options.url,
        options.folder,
        clock,
        pace=replace(PACE, ack_timeout_s=options.ack_timeout_s),
        window_s=options.window_s,
        samples_per_s=options.rate,
        spool_bytes=options.spool_bytes,
        watch=options.watch,
    )
    worker = Worker(telemetry, diary, options.seed)
    begin_s = clock.now_s()
    while not stop:
        due = int((clock.now_s() - begin_s) * options.rate)
        while worker.steps < due:
            worker.step(clock.now_s())
        time.sleep(0.005)
    delivered = telemetry.flush(clock.now_s(), options.patience_s)
    diary.note()
    telemetry.close()
    return 0 if delivered else 3


if __name__ == "__main__":
    sys.exit(main())
