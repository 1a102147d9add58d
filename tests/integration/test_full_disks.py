"""A disk fills up under the device's spool, or under the collector's store, and is freed again.

On file systems in memory of a few megabytes, filled to the last byte. Needs root for mounting; elsewhere the same is
shown with a limit inside SQLite by the unit tests of spool and store.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collector.service import Collector
from simulators.relay import Relay
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.meters import MonotonicClock, VirtualClock
from tamiyo_runtime.transport.broker import start_broker
from tamiyo_runtime.uplink import Pace
from tests.faults.device import DIARY, FLEET, STORE, Worker, open_device
from tests.faults.diary import judge, read
from tests.faults.mounts import small_disk
from tests.faults.site import eventually

pytestmark = [pytest.mark.broker, pytest.mark.slow]

DISK_BYTES = 3 << 20
STEP_S = 0.05


def fill(folder: Path) -> Callable[[], None]:
    """Take every byte that is left; returns how to give them back."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return filler.unlink


def test_a_full_disk_under_the_spool_degrades_and_says_so_and_the_ledger_balances(tmp_path: Path) -> None:
    clock = VirtualClock()
    with (
        small_disk(tmp_path / "disk", DISK_BYTES) as disk,
        start_broker("auto", tmp_path / "broker") as broker,
        Relay(("127.0.0.1", int(broker.url.rsplit(":", 1)[1]))) as relay,
        Collector(broker.url, tmp_path / STORE, FLEET) as collector,
    ):
        telemetry, diary = open_device(
            f"mqtt://{relay.host}:{relay.port}",
            disk,
            clock,
            pace=Pace(event_wait_s=1.0, metric_wait_s=1.0),
            window_s=1.0,
            samples_per_s=1 / STEP_S,
            watch=tmp_path,
        )
        worker = Worker(telemetry, diary, 1)

        def work(until: Callable[[], bool]) -> None:
            for _ in range(20_000):
                worker.step(clock.now_s())
                clock.advance(STEP_S)
                if until():
                    return
            raise AssertionError("that never happened")

        eventually(telemetry._uplink.connected, "no connection")
        work(lambda: worker.steps == 200)
        relay.refuse()  # nothing leaves, so that the disk is all there is
        eventually(lambda: not telemetry._uplink.connected(), "the cut was not noticed")
        free = fill(disk)
        work(lambda: telemetry.trouble() is not None and "full" in str(telemetry.trouble()))
        work(lambda: telemetry._spool._shed_records > 1000)  # memory has its bound too
        free()
        work(lambda: telemetry._spool.trouble is None)
        relay.forward()
        eventually(telemetry._uplink.connected, "no connection after the cut")
        work(lambda: worker.steps % 100 == 0)
        assert telemetry.flush(clock.now_s(), 3600.0)
        diary.note()
        telemetry.close()
        verdict = judge(collector.store, read(tmp_path / DIARY))
        print(f"full disk under the spool: {verdict}")
        assert set(verdict.lost) == {"spool_full"}
        assert verdict.lost["spool_full"] > 1000
        told = [record.value for _, record in collector.store.events() if record.event is Event.DISK]
        assert told == [1, 0]


def test_a_full_disk_under_the_store_holds_acks_back_until_it_is_free(tmp_path: Path) -> None:
    clock = MonotonicClock()
    with (
        small_disk(tmp_path / "disk", DISK_BYTES) as disk,
        start_broker("auto", tmp_path / "broker") as broker,
        Collector(broker.url, disk / STORE, FLEET) as collector,
    ):
        telemetry, diary = open_device(broker.url, tmp_path, clock)
        worker = Worker(telemetry, diary, 1)
        for _ in range(200):
            worker.step(clock.now_s())
        assert telemetry.flush(clock.now_s(), 60.0)
        free = fill(disk)

        def full() -> bool:
            for _ in range(500):
                worker.step(clock.now_s())
            return "full" in str(collector.status().trouble)

        eventually(full, "the store never complained")
        acked = telemetry.counters().stored_acked
        for _ in range(5000):
            worker.step(clock.now_s())
        assert not telemetry.flush(clock.now_s(), 1.0)
        free()
        assert telemetry.flush(clock.now_s(), 60.0)
        assert telemetry.counters().stored_acked > acked
        assert collector.status().trouble is None
        diary.note()
        telemetry.close()
        verdict = judge(collector.store, read(tmp_path / DIARY))
        print(f"full disk under the store: {verdict}")
        assert verdict.lost == {}
        assert verdict.stored == verdict.committed
