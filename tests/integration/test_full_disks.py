"""A disk fills up under the device's spool, or under the collector's store, and is freed again.

On file systems in memory of a few megabytes, filled to the last byte. Needs root for mounting; elsewhere the same is
shown with a limit inside SQLite by the unit tests of spool and store.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from collector.service import Collector
from simulators.relay import Relay
from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.records import Event, LossReason
from tamiyo_runtime.meters import MonotonicClock, VirtualClock
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.transport.broker import start_broker
from tamiyo_runtime.update.store import RECORD
from tamiyo_runtime.uplink import Pace
from tests import tiny
from tests.faults.device import DEVICE, DIARY, FLEET, STORE, Worker, open_device
from tests.faults.diary import judge, read
from tests.faults.mounts import mounted, small_disk
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
        telemetry._spool._memory_bytes = 64 << 10
        work(lambda: telemetry.counters().dropped.get(LossReason.SPOOL_FULL, 0) > 1000)  # memory has its bound too
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


def run_on(disk: Path, bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``tamiyo run`` whose every folder is on that disk."""
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "run", bundle, "--period-ms", 0, *arguments]
    if bundle.is_file():
        command += ["--state-dir", disk / "state", "--fleet", FLEET, "--device-id", DEVICE]
    environment = {**os.environ, "TAMIYO_HOME": str(disk / "home"), "TMPDIR": str(disk), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(map(str, command)), env=environment, check=False, capture_output=True, text=True, timeout=120
    )


def full_disk(disk: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle of version 2, so that there is something to write down, its key trusted, and no room for anything."""
    monkeypatch.setenv("TAMIYO_HOME", str(disk / "home"))
    made = tiny.make(variants=("float",), policy=False)
    write_bundle(bundle, replace(made.manifest, version=2), made.files, SigningKey.default(), overwrite=False)
    fill(disk)


def test_a_device_that_starts_on_a_full_disk_runs_and_its_records_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        small_disk(tmp_path / "disk", DISK_BYTES) as disk,
        start_broker("auto", tmp_path / "broker") as broker,
        Collector(broker.url, tmp_path / STORE, FLEET) as collector,
    ):
        full_disk(disk, tmp_path / "tiny.tamiyo", monkeypatch)
        done = run_on(disk, tmp_path / "tiny.tamiyo", "--samples", 500, "--broker", broker.url)
        assert done.returncode == 0, done.stderr
        assert "database or disk is full; until there is room, telemetry waits in memory" in done.stderr
        assert "Traceback" not in done.stderr
        eventually(lambda: [device.state for device in collector.store.devices()] == ["stopped"], "no farewell")
        (entry,) = collector.store.ledger()
        assert entry.balanced and not entry.lost
        assert sum(window.inferences for _, window in collector.store.windows()) == 500
        assert [event.value for _, event in collector.store.events() if event.event is Event.DISK] == [1]


def test_what_the_user_asked_for_and_a_full_disk_has_no_room_for_is_an_error_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        full_disk(disk, tmp_path / "tiny.tamiyo", monkeypatch)
        done = run_on(disk, tmp_path / "tiny.tamiyo", "--samples", 100, "--trace", disk / "trace.csv")
        assert done.returncode == 2
        assert "100" in done.stdout  # the result is shown all the same
        assert "trace.csv: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_update_on_trial_runs_from_a_full_disk_without_being_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        state, key = disk / "slots", SigningKey.generate()
        (tmp_path / "maker.pub").write_bytes(key.public.to_pem())
        monkeypatch.setenv("TAMIYO_HOME", str(disk / "home"))
        assert main(["update", "init", str(state), "--device", DEVICE, "--key", str(tmp_path / "maker.pub")]) == 0
        made = tiny.make(variants=("float",), policy=False)
        for version in (1, 2):
            release = tmp_path / f"{version}.tamiyo"
            write_bundle(release, replace(made.manifest, version=version), made.files, key, overwrite=False)
            assert main(["update", "apply", str(state), str(release)]) == 0
        free = fill(disk)
        before = (state / RECORD).read_bytes()
        done = run_on(disk, state, "--samples", 100)
        assert done.returncode == 0, done.stderr
        assert "this start is not counted" in done.stderr
        assert (state / RECORD).read_bytes() == before
        free()
        done = run_on(disk, state, "--samples", 100)
        assert done.returncode == 0, done.stderr
        assert "not counted" not in done.stderr
        assert (state / RECORD).read_bytes() != before


def test_a_disk_without_a_file_to_give_is_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=3m,nr_inodes=30", "tmpfs") as disk:
        with Spool(disk / "old.db") as spool:
            earlier = spool.boot
        with pytest.raises(OSError, match="No space left"):
            for number in count():
                (disk / f"{number}").touch()
        for name in ("old.db", "new.db"):
            with Spool(disk / name) as spool:
                assert spool.trouble is not None
        (disk / "1").unlink()
        with Spool(disk / "old.db") as spool:
            assert spool.trouble is None
            assert spool.boot > earlier


def test_a_device_that_ends_on_a_full_disk_says_what_it_takes_with_it(tmp_path: Path) -> None:
    """Nobody acknowledges, the broker keeps the last word, and the collector that comes later has a reason for each."""
    clock = MonotonicClock()
    with (
        small_disk(tmp_path / "disk", DISK_BYTES) as disk,
        start_broker("auto", tmp_path / "broker") as broker,
    ):
        fill(disk)
        telemetry, diary = open_device(broker.url, disk, clock, watch=tmp_path)
        assert telemetry.in_memory is not None
        worker = Worker(telemetry, diary, 1)
        for _ in range(300):
            worker.step(clock.now_s())
        eventually(telemetry._uplink.connected, "no connection")
        assert not telemetry.flush(clock.now_s(), 0.2)
        created = telemetry.counters().records_created
        with pytest.raises(TamiyoError, match=f"its last {created} records are lost"):
            telemetry.close()
        with Collector(broker.url, tmp_path / STORE, FLEET) as collector:
            eventually(lambda: bool(collector.store.ledger()), "the last word did not come")
            (entry,) = collector.store.ledger()
        assert entry.balanced
        assert (entry.sent, entry.stored, entry.lost) == (created, 0, {"disk_full": created})


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
