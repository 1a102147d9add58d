"""What telemetry costs on the wire: bytes a sample and a window in batches of several sizes, and a device at rest.

The same records as frames of ours and in the encodings that others use, each carrying what ours carries (numbers, boot,
bundle) unless it is named otherwise. At rest: a real mosquitto on the loopback and a device without a sample, through a
relay that counts; asked whether it is there every few seconds, so that a minute is enough, and reckoned up to a day of
the real interval. TCP, IP and TLS are computed: 52 bytes a segment, 29 a TLS record.

    python benchmarks/bench_wire.py [--idle-s N] [--json]

Targets: 13 bytes a sample in batches of 60; 100 KiB a day at rest. Exit 3 when one is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Batch, Numbered, Sample, Window, record_to_dict
from tamiyo_runtime.contracts.sketch import sketch_of
from tamiyo_runtime.contracts.stamp import Stamp

TARGET_SAMPLE_BYTES = 13.0
TARGET_IDLE_BYTES = 100 * 1024
SIZES = (1, 10, 60, 600)
BOOT, BUNDLE = 1 << 32 | 0x5EED, "0a0b0c0d"
SEGMENT_BYTES, TLS_BYTES = 52, 29  # IPv4 20, TCP 20 and its time stamps 12; header, nonce and tag of a TLS 1.2 record


def samples(count: int) -> list[Numbered]:
    """A board at 1 Hz: jittered latency and energy, two configurations, ten classes."""
    rng = random.Random(7)
    return [
        Numbered(
            5000 + i,
            Sample(
                t_ms=3_600_000 + 1000 * i + rng.randint(-3, 3),
                configuration=rng.choice(("c0101", "c0000")),
                answer=rng.randint(0, 9),
                confidence_permille=rng.randint(600, 1000),
                latency_us=rng.randint(1800, 2600),
                energy_uj=rng.randint(3800, 5200),
            ),
        )
        for i in range(count)
    ]


def windows(count: int, *, sketched: bool) -> list[Numbered]:
    """Windows of 10 s at 20 inferences a second."""
    rng = random.Random(7)
    result = []
    for i in range(count):
        latencies = sorted(round(rng.choice((1950, 2450)) * rng.lognormvariate(0.0, 0.03)) for _ in range(200))
        full = rng.randint(20, 180)
        window = Window(
            t_ms=3_600_000 + 10_000 * i,
            duration_ms=10_000,
            inferences=200,
            skipped=rng.randint(0, 3),
            deadline_misses=0,
            latency_p50_us=latencies[99],
            latency_p95_us=latencies[189],
            latency_max_us=latencies[-1],
            energy_uj=rng.randint(800_000, 900_000),
            labelled=0,
            correct=0,
            bucket_permille=rng.randint(300, 900),
            throttle_permille=1000,
            counts={"c0101": full, "c0000": 200 - full},
            latency_sketch=sketch_of(latencies) if sketched else None,
        )
        result.append(Numbered(5000 + i, window))
    return result


def frame(records: Sequence[Numbered]) -> bytes:
    """Ours, sent half a minute after the last record, check sum and all."""
    last = records[-1]
    batch = Batch(BOOT, BUNDLE, tuple(records), last.seq + 1, Stamp(sent_ms=last.record.t_ms + 30_000))
    return wire.encode(batch, device="board-1")


def named(records: Sequence[Numbered]) -> dict[str, Any]:
    """A batch as others would write it: names and values."""
    rows = [{"seq": item.seq, **record_to_dict(item.record)} for item in records]
    return {"boot": BOOT, "bundle": BUNDLE, "records": rows}


def rowed(records: Sequence[Numbered]) -> list[Any]:
    """A batch of samples as rows without names."""
    rows = [
        [r.seq, s.t_ms, s.configuration, s.answer, s.confidence_permille, s.latency_us, s.energy_uj]
        for r in records
        if isinstance(s := r.record, Sample)
    ]
    return [BOOT, BUNDLE, rows]


def peers() -> dict[str, Callable[[Sequence[Numbered]], bytes]]:
    """Encodings of a batch of samples; those whose package is missing are left out."""
    found: dict[str, Callable[[Sequence[Numbered]], bytes]] = {
        "JSON, named": lambda records: json.dumps(named(records), separators=(",", ":")).encode(),
        "JSON, named, zlib": lambda records: zlib.compress(
            json.dumps(named(records), separators=(",", ":")).encode(), 9
        ),
    }
    try:
        import msgpack

        found["msgpack, named"] = lambda records: msgpack.packb(named(records))
    except ImportError:
        pass
    try:
        import cbor2

        found["CBOR, rows"] = lambda records: cbor2.dumps(rowed(records))
        found["CBOR, rows, zlib"] = lambda records: zlib.compress(cbor2.dumps(rowed(records)), 9)
    except ImportError:
        pass
    try:
        message = _protobuf()
        found["protobuf, packed columns"] = lambda records: _packed(message, records)
        found["protobuf, zlib"] = lambda records: zlib.compress(_packed(message, records), 9)
    except ImportError:
        pass
    return found


_COLUMNS = ("seq", "t_ms", "configuration", "answer", "confidence_permille", "latency_us", "energy_uj")


def _protobuf() -> Any:
    """A message with a packed column a field; configurations as places in a table."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="batch.proto", syntax="proto3")
    message = file.message_type.add(name="Batch")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind, label) in enumerate(
        [
            ("boot", kinds.TYPE_UINT64, kinds.LABEL_OPTIONAL),
            ("bundle", kinds.TYPE_STRING, kinds.LABEL_OPTIONAL),
            ("names", kinds.TYPE_STRING, kinds.LABEL_REPEATED),
            *((column, kinds.TYPE_UINT64, kinds.LABEL_REPEATED) for column in _COLUMNS),
        ],
        start=1,
    ):
        message.field.add(name=name, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Batch"))


def _packed(message: Any, records: Sequence[Numbered]) -> bytes:
    rows = rowed(records)[2]
    names = sorted({row[2] for row in rows})
    batch = message(boot=BOOT, bundle=BUNDLE, names=names)
    for place, column in enumerate(_COLUMNS):
        values = [names.index(row[2]) if column == "configuration" else row[place] for row in rows]
        getattr(batch, column).extend(values)
    return bytes(batch.SerializeToString())


def microseconds(work: Callable[[], object], records: int) -> float:
    """Per record, the best of five stretches of a tenth of a second."""
    best = float("inf")
    for _ in range(5):
        done, begun_s = 0, time.perf_counter()
        while (took_s := time.perf_counter() - begun_s) < 0.1:
            work()
            done += records
        best = min(best, took_s / done)
    return best * 1e6


def costs(encode: Callable[[Sequence[Numbered]], bytes]) -> dict[str, float]:
    """Bytes a sample by batch size, and the time a sample takes in a batch of 60."""
    sixty = samples(60)
    sizes = {f"bytes_{n}": len(encode(samples(n))) / n for n in SIZES}
    return {**sizes, "us_60": microseconds(lambda: encode(sixty), 60)}


@dataclass(slots=True)
class Relay:
    """Between a device and its broker: counts bytes and pieces, both ways."""

    target: tuple[str, int]
    sent_bytes: int = 0
    pieces: int = 0

    def start(self) -> int:
        """Listen on a free port; returns it."""
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        return int(server.getsockname()[1])

    def _serve(self, server: socket.socket) -> None:
        device, _ = server.accept()
        broker = socket.create_connection(self.target)
        for source, sink in ((device, broker), (broker, device)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            self.sent_bytes += len(data)
            self.pieces += 1
            sink.sendall(data)


def at_rest(seconds: float) -> dict[str, float]:
    """Of a device without samples: bytes of the first contact, of one question, and of a day."""
    from tamiyo_runtime.link import Ethernet
    from tamiyo_runtime.meters import MonotonicClock
    from tamiyo_runtime.telemetry_opening import open_telemetry
    from tamiyo_runtime.transport import mqtt
    from tamiyo_runtime.transport.broker import start_broker

    interval_s, real_s = 5, mqtt.KEEPALIVE_S
    clock = MonotonicClock()
    with tempfile.TemporaryDirectory() as name, start_broker("mosquitto", Path(name)) as handle:
        host, port = handle.url.removeprefix("mqtt://").split(":")
        relay = Relay((host, int(port)))
        mqtt.KEEPALIVE_S = interval_s
        try:
            telemetry = open_telemetry(
                spool=Path(name) / "d.spool",
                url=f"mqtt://127.0.0.1:{relay.start()}",
                fleet="default",
                device="board-1",
                bundle=BUNDLE,
                link=Ethernet(),
                clock=clock,
            )
        finally:
            mqtt.KEEPALIVE_S = real_s

        def work(until_s: float) -> None:
            while (now_s := clock.now_s()) < until_s:
                telemetry.pump(now_s)
                time.sleep(0.25)

        work(clock.now_s() + 3.0)
        first_bytes, before = relay.sent_bytes, (relay.sent_bytes, relay.pieces)
        work(clock.now_s() + seconds)
        quiet_bytes, pieces = relay.sent_bytes - before[0], relay.pieces - before[1]
        records = telemetry.counters().records_created
        telemetry.close()
    questions, asked = seconds / interval_s, pieces / 2  # a question and its answer
    day = 86400.0 / real_s
    return {
        "first_contact_bytes": first_bytes,
        "quiet_bytes": quiet_bytes,
        "quiet_s": seconds,
        "questions_expected": questions,
        "questions_seen": asked,
        "records": records,
        "mqtt_bytes_a_question": quiet_bytes / asked if asked else 0.0,
        "keepalive_s": real_s,
        "computed_mqtt_bytes_a_day": 4 * day,
        "computed_tcp_bytes_a_day": (4 + 3 * SEGMENT_BYTES) * day,
        "computed_tls_bytes_a_day": (4 + 3 * SEGMENT_BYTES + 2 * TLS_BYTES) * day,
    }


def main() -> None:
    """Measure, print, record; exit 3 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-s", type=float, default=60.0, help="how long to watch a device at rest; 0: not at all")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    encodings = {"tamiyo frame": frame, **peers()}
    per_sample = {name: costs(encode) for name, encode in encodings.items()}
    whole = frame(samples(60))
    decode_us = microseconds(lambda: wire.decode(whole, device="board-1"), 60)
    per_window = {
        kind: {f"bytes_{n}": len(frame(windows(n, sketched=sketched))) / n for n in (1, 5, 60)}
        for kind, sketched in (("with a sketch", True), ("without", False))
    }
    idle = at_rest(arguments.idle_s) if arguments.idle_s else None
    figures = {
        "samples": per_sample,
        "decode_us_60": decode_us,
        "windows": per_window,
        "idle": idle,
        "targets": {"sample_bytes": TARGET_SAMPLE_BYTES, "idle_bytes_a_day": TARGET_IDLE_BYTES},
    }
    path = append("wire", figures, ["cbor2", "msgpack", "protobuf", "paho-mqtt"])
    missed = per_sample["tamiyo frame"]["bytes_60"] > TARGET_SAMPLE_BYTES
    if idle is not None:
        day = idle["computed_tls_bytes_a_day"]
        missed = missed or day > TARGET_IDLE_BYTES or idle["mqtt_bytes_a_question"] > 4.0
    if arguments.json:
        print(json.dumps({**figures, "missed": missed}))
    else:
        _show(per_sample, decode_us, per_window, idle)
        print(f"targets {'missed' if missed else 'met'}; written to {path}")
    sys.exit(3 if missed else 0)


def _show(
    per_sample: dict[str, dict[str, float]],
    decode_us: float,
    per_window: dict[str, dict[str, float]],
    idle: dict[str, float] | None,
) -> None:
    print(f"{'bytes a sample':28}" + "".join(f"{f'n={n}':>8}" for n in SIZES) + f"{'us':>8}")
    for name, row in per_sample.items():
        print(f"{name:28}" + "".join(f"{row[f'bytes_{n}']:8.1f}" for n in SIZES) + f"{row['us_60']:8.1f}")
    print(f"decoding takes {decode_us:.1f} us a sample")
    for name, row in per_window.items():
        print(
            f"a window {name}: {row['bytes_1']:.0f} bytes alone, {row['bytes_5']:.1f} of 5, {row['bytes_60']:.1f} of 60"
        )
    if idle is not None:
        kib = {name: idle[f"computed_{name}_bytes_a_day"] / 1024 for name in ("mqtt", "tcp", "tls")}
        print(
            f"at rest: {idle['first_contact_bytes']:.0f} bytes to begin with, then {idle['quiet_bytes']:.0f} in "
            f"{idle['quiet_s']:.0f} s for {idle['questions_seen']:.0f} questions (measured); every "
            f"{idle['keepalive_s']} s that is {kib['mqtt']:.1f} KiB a day, {kib['tcp']:.0f} with TCP and IP, "
            f"{kib['tls']:.0f} with TLS too (computed)"
        )


if __name__ == "__main__":
    main()
