"""Fills a spool as fast as it can, and forgets some of it as if a collector had acked, keeping a diary elsewhere.

    python -m tests.faults.appender SPOOL DIARY [--synchronous OFF]

``--synchronous OFF`` is the control: a spool that does not sync, which a power cut must be seen to rob.
"""

from __future__ import annotations

import argparse
import random
from itertools import count
from pathlib import Path

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Ack, Event, EventRecord, Sample
from tamiyo_runtime.spool import Spool
from tests.faults.diary import Diary

SPOOL_BYTES = 120_000  # so that records are dropped too, and the losses accounted for
ACK_EVERY, ACKED = 3000, 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spool", type=Path)
    parser.add_argument("diary", type=Path)
    parser.add_argument("--synchronous", default="FULL")
    options = parser.parse_args()
    spool = Spool(options.spool, limit_bytes=SPOOL_BYTES)
    spool._rows.db.execute(f"PRAGMA synchronous = {options.synchronous}")
    diary = Diary(options.diary, spool)
    rng = random.Random(spool.boot)
    waiting: list[int] = []
    for number in count():
        if rng.random() < 0.01:
            seq = spool.append(EventRecord(t_ms=number, event=Event.MODE, value=rng.randrange(1 << 40)))
        else:
            seq = spool.append(
                Sample(
                    t_ms=number,
                    configuration="c00",
                    answer=rng.randrange(10),
                    confidence_permille=rng.randrange(1000),
                    latency_us=rng.randrange(1 << 20),
                    energy_uj=rng.randrange(1 << 20),
                )
            )
        waiting.append(seq)
        if len(waiting) >= ACK_EVERY:  # what the spool numbered itself, tombstones, is never in this
            ranges = wire.spans(waiting[:ACKED])
            diary.acking(spool.boot, ranges)
            spool.acked(Ack(spool.boot, ranges))
            del waiting[:ACKED]


if __name__ == "__main__":
    main()
