"""The spool's price: durable records a second, and bytes of flash a record, append and ack, beside queue libraries.

Ours takes records in groups, each durable before the next, and gives them back in batches of 100 as acks do; the
libraries take and give back one by one, as they come. Flash is what the kernel counts as written by the process
(``/proc/self/io``), which for ours is the sum that `FlashMeter` keeps; the file system's own journal is in none of it.
Synthetic records of 200 bytes that do not compress are what the queues are compared by; ours is also measured with what
telemetry records, as it groups it. `disk` is what no queue can beat: commits of one page a second, by ``fdatasync``
alone.

    python benchmarks/bench_spool.py [--records N] [--runs N] [--folder DIR] [--json]

``--folder`` must be on a disk: a file system in memory counts nothing. Targets, for what telemetry records and as the
spool comes (100 a group, or what a second brings): 40,000 single samples a second, less where the disk makes it so (a
commit may take as long as 2.5 of its own); and 900 bytes of flash a record, ack included, of samples, of windows and of
what a second brings on a cable. Exit 3 when one is missed. The synthetic rows are held to nothing: 200 bytes a record
cost more flash than that.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Ack, Priority, Record, Sample, Window
from tamiyo_runtime.contracts.sketch import sketch_of
from tamiyo_runtime.spool import Spool

TARGET_PER_S = 40_000
TARGET_SHARE = 0.4  # of the commits that the disk makes by itself
TARGET_FLASH_BYTES = 900
GROUP = 20
DEFAULT_GROUP = 100
ACKED = 100
CABLE_GROUP = 51
"""What a second brings on a cable: 50 samples and a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one run: records a second in and out, bytes of flash a record for each, bytes that a record takes."""

    append_per_s: float
    ack_per_s: float
    append_flash_bytes: float
    ack_flash_bytes: float
    record_bytes: float


def written() -> int:
    """Bytes that this process has had written to storage so far."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise SystemExit("the kernel does not count what a process writes")


@contextmanager
def timed(into: list[tuple[float, int]]) -> Iterator[None]:
    """Add seconds and bytes written."""
    before, begun_s = written(), time.perf_counter()
    yield
    into.append((time.perf_counter() - begun_s, written() - before))


def padded(count: int) -> list[Record]:
    """Records of 200 bytes, of the class of window summaries: nothing but a filler that does not compress."""
    rng = random.Random(1)
    base = window(rng)
    room = 200 - len(wire.encode_record(base)) - 11
    return [replace(base, extra={"x": f"{rng.getrandbits(4 * room):0{room}x}"}) for _ in range(count)]


def window(rng: random.Random) -> Window:
    """What a device records for some seconds."""
    latencies = sorted(round(rng.choice((1950, 2450)) * rng.lognormvariate(0.0, 0.03)) for _ in range(200))
    return Window(
        t_ms=rng.randint(10**6, 10**8),
        duration_ms=10_000,
        inferences=200,
        skipped=0,
        deadline_misses=0,
        latency_p50_us=latencies[99],
        latency_p95_us=latencies[189],
        latency_max_us=latencies[-1],
        energy_uj=rng.randint(800_000, 900_000),
        labelled=0,
        correct=0,
        bucket_permille=500,
        throttle_permille=1000,
        counts={"c0101": 150, "c0000": 50},
        latency_sketch=sketch_of(latencies),
    )


def sample(rng: random.Random) -> Sample:
    """What a device records of single inferences."""
    return Sample(
        t_ms=rng.randint(10**6, 10**8),
        configuration="c0101",
        answer=rng.randint(0, 9),
        confidence_permille=rng.randint(600, 1000),
        latency_us=rng.randint(1800, 2600),
        energy_uj=rng.randint(3800, 5200),
    )


def ours(folder: Path, records: list[Record], group: int) -> Figures:
    """Append all in groups, then ack all in batches."""
    times: list[tuple[float, int]] = []
    with Spool(folder / "ours.spool", limit_bytes=1 << 30, group_records=group, group_s=3600.0) as spool:
        with timed(times):
            for record in records:
                spool.append(record)
            spool.commit()
        with timed(times):
            for first in range(0, len(records), ACKED):
                spool.acked(Ack(spool.boot, ((first, min(first + ACKED, len(records)) - 1),)))
        assert not any(spool.pending(priority) for priority in Priority)
        if spool.flash_bytes and abs(spool.flash_bytes - sum(size for _, size in times)) > 0.1 * spool.flash_bytes:
            raise SystemExit(f"FlashMeter says {spool.flash_bytes}, the process {times}: they must agree")
    return _figures(times, len(records), sum(len(wire.encode_record(record)) for record in records))


def persist_queue(folder: Path, records: list[Record], group: int) -> Figures:
    """persist-queue's SQLiteAckQueue, which makes each record durable by itself."""
    import persistqueue

    bodies = [wire.encode_record(record) for record in records]
    queue = persistqueue.SQLiteAckQueue(str(folder / "persist"), auto_commit=True)
    times: list[tuple[float, int]] = []
    with timed(times):
        for body in bodies:
            queue.put(body)
    with timed(times):
        for _ in bodies:
            queue.ack(queue.get())
        queue.clear_acked_data(keep_latest=0, max_delete=len(bodies))
    queue.close()
    return _figures(times, len(bodies), sum(map(len, bodies)))


def lite_queue(folder: Path, records: list[Record], group: int) -> Figures:
    """litequeue, at the settings it comes with: a power cut may cost it records that it took."""
    import litequeue

    bodies = [wire.encode_record(record).hex() for record in records]
    queue = litequeue.LiteQueue(str(folder / "lite.db"))
    times: list[tuple[float, int]] = []
    with timed(times):
        for body in bodies:
            queue.put(body)
    with timed(times):
        for _ in bodies:
            queue.done(queue.pop().message_id)
        queue.prune()
    queue.close()
    return _figures(times, len(bodies), sum(map(len, bodies)) // 2)


def _figures(times: list[tuple[float, int]], count: int, size: int) -> Figures:
    (append_s, append_bytes), (ack_s, ack_bytes) = times
    return Figures(
        append_per_s=count / append_s,
        ack_per_s=count / ack_s,
        append_flash_bytes=append_bytes / count,
        ack_flash_bytes=ack_bytes / count,
        record_bytes=size / count,
    )


Queue = Callable[[Path, list[Record], int], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A queue, what it takes, and in groups of how many."""

    name: str
    queue: Queue
    make: Callable[[int], list[Record]]
    group: int
    share: float = 1.0  # of the records: slow queues take fewer


def _many(make: Callable[[random.Random], Record]) -> Callable[[int], list[Record]]:
    def made(count: int) -> list[Record]:
        rng = random.Random(2)
        return [make(rng) for _ in range(count)]

    return made


def cable(count: int) -> list[Record]:
    """A window after every 50 samples."""
    rng = random.Random(3)
    return [window(rng) if place % CABLE_GROUP == CABLE_GROUP - 1 else sample(rng) for place in range(count)]


SAMPLES, WINDOWS, CABLE = "ours, samples, 100 a group", "ours, windows, 100 a group", "ours, a second on a cable"
HELD_FLASH = (SAMPLES, WINDOWS, CABLE)
CASES = (
    Case(name=SAMPLES, queue=ours, make=_many(sample), group=DEFAULT_GROUP),
    Case(name=WINDOWS, queue=ours, make=_many(window), group=DEFAULT_GROUP),
    Case(name=CABLE, queue=ours, make=cable, group=CABLE_GROUP),
    Case(name="ours, samples, 20 a group", queue=ours, make=_many(sample), group=GROUP),
    Case(name="ours, windows, 20 a group", queue=ours, make=_many(window), group=GROUP),
    Case(name="ours, synthetic 200 B, 100 a group", queue=ours, make=padded, group=DEFAULT_GROUP),
    Case(name="ours, synthetic 200 B, 20 a group", queue=ours, make=padded, group=GROUP),
    Case(name="ours, synthetic 200 B, 1 a group", queue=ours, make=padded, group=1, share=0.1),
    Case(name="persist-queue, synthetic 200 B, 1", queue=persist_queue, make=padded, group=1, share=0.02),
    Case(name="litequeue, synthetic 200 B, 1", queue=lite_queue, make=padded, group=1, share=0.1),
)


def syncs_per_s(folder: Path, count: int = 200) -> float:
    """How often a second the disk makes one more page durable."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began_s = time.perf_counter()
        for page in range(count):
            os.pwrite(file.fileno(), bytes(4096), 4096 * page)
            os.fdatasync(file.fileno())
        return count / (time.perf_counter() - began_s)


def misses(found: dict[str, Any], disk_per_s: float) -> list[str]:
    """The targets that these figures miss on a disk of so many commits a second."""
    missed, target = [], min(TARGET_PER_S, TARGET_SHARE * DEFAULT_GROUP * disk_per_s)
    if (rate := found[SAMPLES]["append_per_s"]["median"]) < target:
        missed.append(f"{SAMPLES}: {rate:.0f} a second, fewer than {target:.0f}")
    for name in HELD_FLASH:
        flash = sum(found[name][f"{what}_flash_bytes"]["median"] for what in ("append", "ack"))
        if flash > TARGET_FLASH_BYTES:
            missed.append(f"{name}: {flash:.0f} bytes of flash a record, more than {TARGET_FLASH_BYTES}")
    return missed


def measure(case: Case, folder: Path, records: int, runs: int) -> dict[str, Any] | None:
    """Medians and quartiles over runs, each with a new file; None without the package."""
    made = case.make(max(ACKED, int(records * case.share)))
    results = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            try:
                results.append(asdict(case.queue(Path(name), made, case.group)))
            except ImportError as exc:
                print(f"{case.name}: left out, {exc.name} is not installed", file=sys.stderr)
                return None
    return {key: spread([result[key] for result in results]) for key in results[0]}


def main() -> None:
    """Measure every queue, print, record; exit 3 when ours misses a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to be measured")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.runs < 2:
        parser.error("--runs: at least 2, for the spread")
    found, disk = {}, [syncs_per_s(arguments.folder)]
    for case in CASES:
        figures = measure(case, arguments.folder, arguments.records, arguments.runs)
        if figures is not None:
            found[case.name] = figures
        disk.append(syncs_per_s(arguments.folder))
    missed = misses(found, spread(disk)["median"])
    plain = {
        "queues": found,
        "disk_syncs_per_s": spread(disk),
        "records": arguments.records,
        "targets": {"append_per_s": TARGET_PER_S, "disk_share": TARGET_SHARE, "flash_bytes": TARGET_FLASH_BYTES},
        "sqlite": sqlite3.sqlite_version,
    }
    path = append("spool", plain, ["persist-queue", "litequeue"])
    if arguments.json:
        print(json.dumps({**plain, "missed": missed}))
    else:
        print(f"{'queue':36}{'append/s':>10}{'ack/s':>10}{'flash B/record':>22}{'record B':>10}")
        for name, row in found.items():
            middle = {key: value["median"] for key, value in row.items()}
            flash_text = f"{middle['append_flash_bytes']:.0f} + {middle['ack_flash_bytes']:.0f}"
            rates = f"{middle['append_per_s']:10.0f}{middle['ack_per_s']:10.0f}"
            print(f"{name:36}{rates}{flash_text:>22}{middle['record_bytes']:10.0f}")
        low, high = plain["disk_syncs_per_s"]["q1"], plain["disk_syncs_per_s"]["q3"]
        print(f"disk: {low:.0f} to {high:.0f} commits of one page a second meanwhile (quartiles)")
        print(f"missed: {'; '.join(missed) or 'nothing'}")
        print(f"written to {path}")
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
