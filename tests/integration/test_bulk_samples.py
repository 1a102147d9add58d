"""Single samples through a real broker into collectors that get killed: stored once, however they come again."""

from __future__ import annotations

import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from collector.coverage import Coverage, size
from collector.store import Store
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, Numbered, Record, Sample
from tamiyo_runtime.transport.broker import start_broker
from tamiyo_runtime.transport.connection import Connection
from tamiyo_runtime.transport.topics import Address, Channel

pytestmark = [pytest.mark.broker, pytest.mark.slow]

BOOT = 3 << 32 | 9
COUNT = 3000
PATIENCE_S = 60.0
ADDRESS = Address("test", "board-1")
COLLECT = "import sys; from tamiyo_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
PAGE = Path(__file__).parents[2] / "docs" / "collector.md"


def record(seq: int) -> Record:
    """A record that shows whether it is the one that was sent under its number."""
    if seq % 97 == 0:
        return EventRecord(t_ms=seq, event=Event.BUDGET, value=seq)
    return Sample(
        t_ms=seq, configuration=f"c{seq % 4:02b}", answer=seq % 10, confidence_permille=1, latency_us=seq, energy_uj=2
    )


class Sender:
    """A device that sends again what nobody acknowledged, each time cut into frames differently."""

    def __init__(self, url: str, seed: int) -> None:
        self._rng = random.Random(seed)
        self._acked = Coverage()
        self._lock = threading.Lock()
        self._connection = Connection(
            url,
            "sender",
            subscriptions=[ADDRESS.topic(Channel.ACK)],
            on_message=lambda message: self._hear(message.payload),
        )
        self._connection.start()
        assert self._connection.wait_connected(PATIENCE_S)

    def _hear(self, payload: bytes) -> None:
        with self._lock:
            for first, last in wire.decode_ack(bytes(payload), device=ADDRESS.device).ranges:
                self._acked.add(first, last)

    def acked(self) -> int:
        """How many records the collector says it has."""
        with self._lock:
            return size(self._acked.spans)

    def send(self, seconds: float) -> None:
        """Frames of what is not acked, in no order, for so long or until there is nothing left."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and self.acked() < COUNT:
            with self._lock:
                waiting = [seq for seq in range(COUNT) if not self._acked.overlap(seq, seq)]
            first = self._rng.randrange(len(waiting) or 1)
            open_seqs = waiting[first : first + self._rng.randrange(1, 100) : self._rng.choice([1, 1, 1, 2])]
            if open_seqs:
                batch = Batch(BOOT, "0a0b0c0d", tuple(Numbered(seq, record(seq)) for seq in open_seqs), COUNT)
                self._connection.publish(ADDRESS.topic(Channel.TELEMETRY), wire.encode(batch, device=ADDRESS.device))
            time.sleep(0.005)

    def stop(self) -> None:
        """Disconnect."""
        self._connection.stop()


@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_samples_are_stored_once_whatever_is_killed_and_however_they_come_again(kind: str, tmp_path: Path) -> None:
    if kind == "mosquitto" and not (shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")):
        pytest.skip("mosquitto is not installed; type: sudo apt-get install mosquitto")
    rng, store = random.Random(11), tmp_path / "c.db"
    with start_broker(kind, tmp_path / "broker") as broker:
        sender = Sender(broker.url, 5)
        arguments = ["collect", "--broker", broker.url, "--store", str(store), "--fleet", "test"]
        killed, limit_s = 0, time.monotonic() + PATIENCE_S
        while sender.acked() < COUNT:
            assert time.monotonic() < limit_s, f"{sender.acked()} of {COUNT} are acknowledged"
            child = subprocess.Popen(
                [sys.executable, "-c", COLLECT, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            before = sender.acked()
            while killed < 3 and sender.acked() == before and time.monotonic() < limit_s:  # it dies at its work
                sender.send(0.1)
            sender.send(rng.uniform(0.0, 0.3) if killed < 3 else PATIENCE_S)
            child.send_signal(signal.SIGKILL)
            child.wait()
            killed += 1
        sender.stop()
    assert killed >= 3
    with Store(store) as opened:
        found = [*opened.samples(), *opened.events()]
        assert sorted(where.seq for where, _ in found) == list(range(COUNT))
        assert all(one == record(where.seq) for where, one in found)
        (entry,) = opened.ledger()
        assert (entry.sent, entry.stored, entry.balanced) == (COUNT, COUNT, True)
    check_queries(store)


def check_queries(store: Path) -> None:
    """The queries of the documentation run on the file."""
    queries = re.search(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert queries is not None
    db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    statements = [text for text in queries[1].split(";\n") if text.strip()]
    assert len(statements) >= 3
    for statement in statements:
        db.execute(statement).fetchall()
    db.close()
