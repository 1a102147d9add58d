"""How much telemetry one collector takes: a real broker, a publisher and `tamiyo collect` as processes of their own.

Three loads: one sample a message from 20 devices and from 2,000, and 60 a message from 20. Beside it, in the same run
and in turn: what a plain paho subscriber does with the same samples in JSON (decode, dedupe by key, commit with full
sync every 5,000 rows or 200 ms, but acknowledge on arrival, which is not durable), and a paho subscriber that does
nothing, which is the ceiling of that client as it comes. All share the machine's cores, so ratios say more than rates,
and the processor time of a message more than either. The publisher never runs more than a few thousand messages ahead
of what is stored, so all processes work all the time.

`in process` needs no broker: frames to committed records, and where the time goes.

    python benchmarks/bench_collector.py [--runs N] [--messages N] [--broker mosquitto|embedded] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.mqtt_pump import packet, pump
from benchmarks.results import append, spread
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Batch, Numbered, Sample
from tamiyo_runtime.transport.broker import start_broker

TARGETS = {"single": 15_000, "batched": 150_000}
"""Samples a second, deduplicated and durable."""
RSS_TARGET_MB = 60.0
AHEAD = 8000
BOOT = 7 << 16 | 1


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a load: samples to a message, devices, and how many messages are sent, as a share of what was asked for."""

    size: int
    devices: int
    share: float


SHAPES = {"single": Shape(1, 20, 1.0), "fleet": Shape(1, 2000, 0.5), "batched": Shape(60, 20, 0.1)}
PATIENCE_S = 120.0
COLLECT = "import sys; from tamiyo_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
CONTEXT = multiprocessing.get_context("spawn")


def sample(number: int) -> Sample:
    """Like a device's: a steady clock, latencies that scatter."""
    return Sample(
        t_ms=20 * number,
        configuration="c0101" if number % 50 < 40 else "c1111",
        answer=number * 7 % 10,
        confidence_permille=500 + number * 37 % 500,
        latency_us=900 + number * 7919 % 400,
        energy_uj=2500 + number * 104729 % 900,
    )


def batches(messages: int, shape: Shape) -> Iterator[tuple[str, Batch]]:
    """``messages`` batches, the devices in turn."""
    size, devices = shape.size, shape.devices
    for number in range(messages):
        first = number // devices * size
        records = tuple(Numbered(seq, sample(seq)) for seq in range(first, first + size))
        yield f"board-{number % devices}", Batch(BOOT, "0a0b0c0d", records, first + size)


def as_json(batch: Batch) -> bytes:
    """What a subscriber without our format would be sent."""
    rows = [
        [n.seq, s.t_ms, s.configuration, s.answer, s.confidence_permille, s.latency_us, s.energy_uj]
        for n in batch.records
        if isinstance(s := n.record, Sample)
    ]
    return json.dumps({"boot": batch.boot, "rows": rows}).encode()


@dataclass(frozen=True, slots=True)
class Load:
    """Packets to publish and how many samples they hold."""

    frames: list[bytes]
    texts: list[bytes]
    samples: int


def load(messages: int, shape: Shape) -> Load:
    """Everything encoded before any clock starts."""
    made = list(batches(messages, shape))
    frames = [packet(f"tamiyo/v1/bench/{d}/t", wire.encode(b, device=d), i) for i, (d, b) in enumerate(made)]
    texts = [packet(f"plain/{d}", as_json(b), i) for i, (d, b) in enumerate(made)]
    return Load(frames, texts, messages * shape.size)


def publish(port: int, packets: list[bytes], messages_done: Any, start: Any) -> None:
    """The publisher's process."""
    start.wait()
    pump("127.0.0.1", port, packets, lambda: messages_done.value + AHEAD)


def peer(port: int, store: str | None, messages_done: Any, ready: Any, end: Any) -> None:
    """The plain subscriber's process; without ``store`` it only counts."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    db = sqlite3.connect(store or ":memory:", isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE s (device TEXT, boot INT, seq INT, t INT, c TEXT, a INT, p INT, l INT, e INT,"
        " PRIMARY KEY (device, boot, seq)) WITHOUT ROWID"
    )
    rows: list[tuple[Any, ...]] = []
    waiting = [0, time.monotonic()]

    def commit() -> None:
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO s VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
        messages_done.value += waiting[0]
        rows.clear()
        waiting[:] = [0, time.monotonic()]

    def take(_: Any, __: Any, message: paho.MQTTMessage) -> None:
        device, said = message.topic, json.loads(message.payload)
        rows.extend((device, said["boot"], *row) for row in said["rows"])
        waiting[0] += 1
        if len(rows) >= 5000:
            commit()

    def count(*_: object) -> None:
        messages_done.value += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="plain", protocol=paho.MQTTv311)
    client.on_message = take if store else count
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.subscribe("plain/+" if store else "tamiyo/v1/bench/+/t", qos=1)
    while not end.is_set():
        client.loop(0.1)
        if rows and time.monotonic() - waiting[1] > 0.2:
            commit()


def cpu_s(pid: int) -> float:
    """Processor time that process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_kb(pid: int) -> int:
    """Most memory that process ever had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@contextmanager
def publisher(port: int, packets: list[bytes], messages_done: Any) -> Iterator[Any]:
    """A publisher that waits for the event it yields."""
    start = CONTEXT.Event()
    child = CONTEXT.Process(target=publish, args=(port, packets, messages_done, start), daemon=True)
    child.start()
    try:
        yield start
    finally:
        child.join(10.0)
        child.terminate()


def await_(condition: Callable[[], bool], what: str) -> None:
    """Poll until it holds."""
    limit_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > limit_s:
            raise SystemExit(f"{what} took more than {PATIENCE_S} s")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Run:
    """Of one run: messages and samples a second; of the subscriber, its processor time and most memory resident."""

    messages_per_s: float
    samples_per_s: float
    cpu_us_per_message: float
    rss_mb: float


class Meter:
    """A process and the moment it begins to work."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu_s, self._wall_s = cpu_s(pid), time.perf_counter()

    def run(self, messages: int, samples: int) -> Run:
        """Figures of what it did since."""
        wall_s = time.perf_counter() - self._wall_s
        used_s = cpu_s(self._pid) - self._cpu_s
        rss_mb = peak_rss_kb(self._pid) / 1024
        return Run(messages / wall_s, samples / wall_s, 1e6 * used_s / messages, rss_mb)


def run_collector(port: int, work: Load, folder: Path) -> Run:
    """`tamiyo collect` as anybody starts it; its progress is read from its store."""
    store = folder / "telemetry.db"
    done, size = CONTEXT.Value("q", 0, lock=False), work.samples // len(work.frames)
    arguments = ["collect", "--broker", f"mqtt://127.0.0.1:{port}", "--store", str(store), "--fleet", "bench"]
    with publisher(port, work.frames, done) as start:
        child = subprocess.Popen(
            [sys.executable, "-c", COLLECT, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            await_(store.exists, "the collector's start")
            time.sleep(2.0)  # connected and subscribed by then; a message sent earlier would be lost on QoS 1, too
            db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)

            def all_stored() -> bool:
                (found,) = db.execute("SELECT total(count) FROM counters WHERE name = 'records'").fetchone()
                done.value = int(found) // size
                return bool(found >= work.samples)

            meter = Meter(child.pid)
            start.set()
            await_(all_stored, "the collector")
            found = meter.run(len(work.frames), work.samples)
            db.close()
        finally:
            child.terminate()
            child.wait()
    return found


def run_peer(port: int, work: Load, folder: Path, *, stores: bool) -> Run:
    """The plain subscriber, or the one that does nothing."""
    packets = work.texts if stores else work.frames
    done, ready, end = CONTEXT.Value("q", 0, lock=False), CONTEXT.Event(), CONTEXT.Event()
    store = str(folder / "plain.db") if stores else None
    child = CONTEXT.Process(target=peer, args=(port, store, done, ready, end), daemon=True)
    with publisher(port, packets, done) as start:
        child.start()
        if not ready.wait(30.0):
            raise SystemExit("the plain subscriber did not start")
        meter = Meter(child.pid or 0)
        start.set()
        await_(lambda: done.value >= len(packets), "the plain subscriber")
        found = meter.run(len(packets), work.samples)
        end.set()
        child.join(10.0)
    return found


def in_process(messages: int, shape: Shape, group: int = 500) -> dict[str, float]:
    """Frames to committed records without a broker, microseconds a message in each step."""
    from collector.ingest import arrival
    from collector.store import Store

    made = [(f"tamiyo/v1/bench/{d}/t", wire.encode(batch, device=d)) for d, batch in batches(messages, shape)]
    samples = messages * shape.size
    with tempfile.TemporaryDirectory(prefix="bench-collector-", dir=Path.cwd()) as folder:
        with Store(Path(folder) / "c.db") as store:
            read_s = commit_s = 0.0
            for start in range(0, messages, group):
                began = time.perf_counter()
                came = [arrival(topic, frame, 1.0, fleet="bench") for topic, frame in made[start : start + group]]
                read_s += time.perf_counter() - began
                began = time.perf_counter()
                store.commit(came)
                commit_s += time.perf_counter() - began
            if store.counters()["records"] != samples:
                raise SystemExit("not everything was stored")
        file_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "read_us": 1e6 * read_s / messages,
        "commit_us": 1e6 * commit_s / messages,
        "samples_per_s": samples / (read_s + commit_s),
        "store_bytes_per_sample": file_bytes / samples,
    }


def measure(name: str, messages: int, runs: int, kind: str) -> dict[str, Any]:
    """Collector and peers in turn, ``runs`` times, each with a fresh broker."""
    work = load(messages, SHAPES[name])
    found: dict[str, list[Run]] = {"collector": [], "plain": [], "nothing": []}
    for turn in range(runs):
        for who in found if turn % 2 else reversed(found):
            with tempfile.TemporaryDirectory(prefix="bench-collector-", dir=Path.cwd()) as scratch:
                folder = Path(scratch)
                with start_broker(kind, folder / "broker") as broker:
                    port = int(broker.url.rsplit(":", 1)[1])
                    print(f"  {name}: {who} ...", file=sys.stderr, flush=True)
                    if who == "collector":
                        found[who].append(run_collector(port, work, folder))
                    else:
                        found[who].append(run_peer(port, work, folder, stores=who == "plain"))
    return {
        who: {
            figure: spread([getattr(one, figure) for one in made])
            for figure in ("messages_per_s", "samples_per_s", "cpu_us_per_message", "rss_mb")
        }
        for who, made in found.items()
    }


def main() -> None:
    """Measure, print, record; exit 3 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=60_000, help="of one sample from 20 devices")
    parser.add_argument("--broker", default="mosquitto")
    parser.add_argument("--no-broker", action="store_true", help="only what needs none; recorded nowhere")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.runs < 2:
        parser.error("--runs: at least 2, for the spread")
    counts = {name: int(arguments.messages * shape.share) for name, shape in SHAPES.items()}
    inside = {name: in_process(counts[name], shape) for name, shape in SHAPES.items()}
    if arguments.no_broker:
        print(json.dumps(inside, indent=2))
        return
    loads = {name: measure(name, counts[name], arguments.runs, arguments.broker) for name in SHAPES}
    missed = [name for name in TARGETS if loads[name]["collector"]["samples_per_s"]["median"] < TARGETS[name]]
    rss_mb = max(loads[name]["collector"]["rss_mb"]["q3"] for name in SHAPES)
    missed += ["memory"] if rss_mb > RSS_TARGET_MB else []
    figures = {"targets": TARGETS, "broker": arguments.broker, "loads": loads, "in_process": inside}
    path = append("collector", figures, ["paho-mqtt"])
    if arguments.json:
        print(json.dumps({**figures, "missed": missed}))
    else:
        show(loads, inside)
        print(f"targets: {'missed: ' + ', '.join(missed) if missed else 'met'}; written to {path}")
    sys.exit(3 if missed else 0)


def show(loads: dict[str, Any], inside: dict[str, dict[str, float]]) -> None:
    """For people."""
    heads = f"{'messages/s':>12}{'samples/s':>12}{'of plain':>10}{'of ceiling':>12}{'CPU us/msg':>12}{'RSS, MB':>10}"
    print(f"{'load':10}{'who':12}{heads}")
    for name, found in loads.items():
        rates = {who: figures["messages_per_s"]["median"] for who, figures in found.items()}
        for who, figures in found.items():
            print(
                f"{name:10}{who:12}{rates[who]:12,.0f}{figures['samples_per_s']['median']:12,.0f}"
                f"{rates[who] / rates['plain']:10.2f}{rates[who] / rates['nothing']:12.2f}"
                f"{figures['cpu_us_per_message']['median']:12.1f}{figures['rss_mb']['median']:10.1f}"
            )
    for name, steps in inside.items():
        print(
            f"{name:10}{'in process':12}{'':12}{steps['samples_per_s']:12,.0f}   "
            f"read {steps['read_us']:.1f} us, commit {steps['commit_us']:.1f} us a message; "
            f"{steps['store_bytes_per_sample']:.1f} B a sample on disk"
        )


if __name__ == "__main__":
    main()
