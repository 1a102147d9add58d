"""From a device's spool through a real broker into the collector's store, while things get killed.

Every test ends with the same two questions: does the ledger balance, and is everything the device had committed stored
exactly once and unchanged? Kill moments are drawn from a seeded generator.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.service import Collector
from collector.store import Store
from tamiyo_runtime.contracts.records import Decision, LossReason, Mode, Reason
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import MonotonicClock
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.transport.broker import BrokerHandle, start_broker
from tamiyo_runtime.uplink import Pace

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CLOCK = MonotonicClock()
PACE = Pace(event_wait_s=0.02, metric_wait_s=0.02, ack_timeout_s=1.0, ack_timeout_cap_s=4.0)
PATIENCE_S = 40.0

DEVICE = """
import sys, time
from pathlib import Path
from tests.integration.test_delivery import CLOCK, decision, device
telemetry = device(sys.argv[1], Path(sys.argv[2]))
for number in range(100_000):
    telemetry.decision(decision(number))
    if number % 25 == 0:
        telemetry.pump(CLOCK.now_s())
        print(telemetry.boot, telemetry.counters().records_created, flush=True)
        time.sleep(0.002)
"""

SENDER = """
import sys, time
from pathlib import Path
from tests.integration.test_delivery import CLOCK, device, send
telemetry = device(sys.argv[1], Path(sys.argv[2]))
send(telemetry, range(int(sys.argv[3])))
uplink = telemetry._uplink
limit_s = CLOCK.now_s() + 20.0
telemetry.flush(CLOCK.now_s(), 0.0)
box = uplink._outbox
while not uplink.traffic.transmissions or box.waiting(raw=True) or uplink.transport._connection._client._out_messages:
    assert CLOCK.now_s() < limit_s
    time.sleep(0.01)
    telemetry.flush(CLOCK.now_s(), 0.0)
time.sleep(0.1)
telemetry.flush(CLOCK.now_s(), 0.0)  # whoever took the broker's word for the collector's would act on it now
print(telemetry.boot, uplink.traffic.transmissions, flush=True)
time.sleep(60)
"""


def decision(number: int) -> Decision:
    """A record that shows whether it is the one that was sent under its number."""
    return Decision(
        t_ms=number,
        proposed="c11",
        granted="c00",
        reason=Reason.ENERGY,
        mode=Mode.NORMAL,
        latency_left_permille=number % 1000,
        bucket_permille=number % 7,
    )


def device(url: str, folder: Path, *, spool_bytes: int = 64 << 20) -> Telemetry:
    return open_telemetry(
        spool=folder / "spool.db",
        url=url,
        fleet="test",
        device="board-1",
        bundle="0a0b0c0d",
        link=Ethernet(),
        clock=CLOCK,
        pace=PACE,
        spool_bytes=spool_bytes,
    )


@dataclass
class Rig:
    """A broker that can be killed and comes back where it was."""

    kind: str
    folder: Path
    handle: BrokerHandle

    @property
    def url(self) -> str:
        return self.handle.url

    def kill_broker(self) -> None:
        os.kill(self.handle.pid, signal.SIGKILL)
        self.handle.stop()

    def wipe_broker(self) -> None:
        """Whatever a killed broker kept on disk is gone, as if it ran in a container."""
        shutil.rmtree(self.folder / "broker")

    def restart_broker(self) -> None:
        self.handle = start_broker(self.kind, self.folder / "broker", port=int(self.url.rsplit(":", 1)[1]))


@pytest.fixture(params=["embedded", "mosquitto"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    kind = request.param
    if kind == "mosquitto" and not shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"):
        pytest.skip("mosquitto is not installed; type: sudo apt-get install mosquitto")
    rig = Rig(kind, tmp_path, start_broker(kind, tmp_path / "broker"))
    yield rig
    rig.handle.stop()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def send(telemetry: Telemetry, numbers: range) -> None:
    for number in numbers:
        telemetry.decision(decision(number))
        if number % 25 == 0:
            telemetry.pump(CLOCK.now_s())


def check(store: Store, committed: dict[int, int]) -> None:
    """``committed``: how many records each boot is known to have made durable."""
    ledger = {entry.boot: entry for entry in store.ledger()}
    assert all(entry.balanced for entry in ledger.values()), ledger
    for boot, created in committed.items():
        assert not created or ledger[boot].sent >= created  # one that was killed at once may be unknown
    stored = store.decisions()
    places = [(where.boot, where.seq) for where, _ in stored]
    assert len(set(places)) == len(places)
    for where, record in stored:
        assert record == decision(record.t_ms), where
    for boot, created in committed.items():
        numbers = [record.t_ms for where, record in stored if where.boot == boot]
        assert numbers == list(range(len(numbers)))  # in order of seq, none missing, none twice
        assert len(numbers) >= created


def test_everything_sent_is_stored_once_and_the_ledger_balances(rig: Rig) -> None:
    with Collector(rig.url, rig.folder / "store.db", "test") as collector:
        telemetry = device(rig.url, rig.folder)
        send(telemetry, range(3000))
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        counters = telemetry.counters()
        assert counters.stored_acked == counters.records_created == 3000
        telemetry.close()
        eventually(lambda: [d.state for d in collector.store.devices()] == ["stopped"], "no farewell")
        check(collector.store, {telemetry.boot: 3000})
        assert collector.store.counters()["records"] == 3000
        (known,) = collector.store.devices()
        assert known.birth["bundle"] == "0a0b0c0d"


def test_a_device_killed_at_any_moment_loses_nothing_it_had_committed(rig: Rig) -> None:
    rng = random.Random(2)
    committed: dict[int, int] = {}
    with Collector(rig.url, rig.folder / "store.db", "test") as collector:
        for _ in range(3):
            child = subprocess.Popen(
                [sys.executable, "-c", DEVICE, rig.url, str(rig.folder)], stdout=subprocess.PIPE, text=True
            )
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(rng.uniform(0.02, 0.4))
            child.send_signal(signal.SIGKILL)
            lines = (first + child.stdout.read()).splitlines(keepends=True)
            child.wait()
            child.stdout.close()
            committed |= dict(map(int, line.split()) for line in lines if line.endswith("\n"))
        telemetry = device(rig.url, rig.folder)
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        telemetry.close()
        assert len(committed) == 3
        check(collector.store, committed)


def test_a_broker_killed_at_any_moment_costs_nothing(rig: Rig) -> None:
    rng = random.Random(3)
    with Collector(rig.url, rig.folder / "store.db", "test") as collector:
        telemetry = device(rig.url, rig.folder)
        sent = 0
        for _ in range(3):
            end_s = time.monotonic() + rng.uniform(0.1, 0.5)
            while time.monotonic() < end_s:
                send(telemetry, range(sent, sent + 50))
                sent += 50
                time.sleep(0.005)
            rig.kill_broker()
            send(telemetry, range(sent, sent + 200))
            sent += 200
            rig.restart_broker()
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        telemetry.close()
        stored = [record for _, record in collector.store.decisions()]
        assert [record.t_ms for record in stored] == list(range(sent))
        assert all(entry.balanced for entry in collector.store.ledger())


def test_what_the_broker_took_but_no_collector_stored_survives_the_loss_of_device_and_broker(rig: Rig) -> None:
    """Only the spool can hold it: the device's memory and the broker's disk are both gone."""
    count = 500
    child = subprocess.Popen(
        [sys.executable, "-c", SENDER, rig.url, str(rig.folder), str(count)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    boot, frames = map(int, child.stdout.readline().split())
    assert frames > 0
    child.kill()
    rig.kill_broker()
    child.wait()
    child.stdout.close()
    rig.wipe_broker()
    rig.restart_broker()
    with Collector(rig.url, rig.folder / "store.db", "test") as collector:
        telemetry = device(rig.url, rig.folder)
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        telemetry.close()
        stored = [(where.boot, where.seq, record.t_ms) for where, record in collector.store.decisions()]
        assert stored == [(boot, number, number) for number in range(count)]
        check(collector.store, {boot: count})


def test_a_collector_killed_at_any_moment_stores_everything_exactly_once(rig: Rig) -> None:
    rng = random.Random(4)
    store = rig.folder / "store.db"
    command = "import sys; from tamiyo_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["collect", "--broker", rig.url, "--store", str(store), "--fleet", "test"]
    telemetry = device(rig.url, rig.folder)
    sent = stored = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        kill_s: float | None = None  # drawn once this collector has stored something, so that it dies at its work
        with Store(store) as beside:
            limit_s = time.monotonic() + PATIENCE_S
            while kill_s is None or time.monotonic() < kill_s:
                assert time.monotonic() < limit_s, "the collector stored nothing"
                send(telemetry, range(sent, sent + 50))
                sent += 50
                if kill_s is None and beside.counters()["records"] > stored:
                    kill_s = time.monotonic() + rng.uniform(0.0, 0.3)
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
            child.wait()
            stored = beside.counters()["records"]
    with Collector(rig.url, store, "test") as collector:
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        telemetry.close()
        check(collector.store, {telemetry.boot: sent})
        assert len(collector.store.decisions()) == sent


def test_what_a_small_spool_had_to_drop_is_in_the_ledger(rig: Rig) -> None:
    telemetry = device(rig.url, rig.folder, spool_bytes=20_000)  # nobody acks yet
    for number in range(4000):
        telemetry.decision(decision(number))
    with Collector(rig.url, rig.folder / "store.db", "test") as collector:
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        dropped = telemetry.counters().dropped
        telemetry.close()
        assert dropped[LossReason.SPOOL_FULL] > 1000
        (entry,) = collector.store.ledger()
        assert entry.balanced
        assert entry.lost == {"spool_full": dropped[LossReason.SPOOL_FULL]}
        assert entry.sent == entry.stored + entry.lost["spool_full"] > 4000


def test_the_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tamiyo_runtime.transport.broker import start_broker\n"
        "print(start_broker('embedded', Path(sys.argv[1])).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    broker = int(child.stdout.readline())
    assert Path(f"/proc/{broker}").exists()
    child.kill()
    child.wait()
    child.stdout.close()
    eventually(lambda: not _alive(broker), "the broker outlived its parent")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_collect_command_ends_by_itself_when_all_is_balanced(rig: Rig) -> None:
    command = "import sys; from tamiyo_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["collect", "--broker", rig.url, "--store", str(rig.folder / "store.db"), "--fleet", "test"]
    child = subprocess.Popen(
        [sys.executable, "-c", command, *arguments, "--until-balanced"], stdout=subprocess.PIPE, text=True
    )
    telemetry = device(rig.url, rig.folder)
    send(telemetry, range(500))
    assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
    telemetry.close()
    output, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0
    assert "board-1" in output
    assert " 500 " in output
    assert " yes" in output
