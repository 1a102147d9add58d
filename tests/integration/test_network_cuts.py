"""The network between device, broker and collector goes away for minutes, and comes back.

Ten minutes pass on the device's virtual clock while a real relay between it and a real broker lets nothing through; the
long test cuts in real time. ``python -m tests.integration.test_network_cuts 600`` does it for ten real minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pytest

from collector.service import Collector
from simulators.relay import Relay
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.transport.broker import start_broker
from tamiyo_runtime.transport.connection import DEAF_S, Connection
from tamiyo_runtime.uplink import Pace
from tests.faults.device import DIARY, FLEET, STORE, Worker, open_device
from tests.faults.diary import Verdict, judge, read
from tests.faults.site import Site, eventually

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CUT_S = 600.0
STEP_S = 0.2
PATIENCE_VIRTUAL_S = 3600.0  # a second of it takes about 20 ms


@pytest.mark.parametrize("how", ["refuse", pytest.param("swallow", marks=pytest.mark.long)])
def test_a_network_that_is_away_for_ten_minutes_of_the_device_costs_nothing(tmp_path: Path, how: str) -> None:
    clock = VirtualClock()
    with (
        start_broker("auto", tmp_path / "broker") as broker,
        Relay(("127.0.0.1", int(broker.url.rsplit(":", 1)[1]))) as relay,
        Collector(broker.url, tmp_path / STORE, FLEET) as collector,
    ):
        pace = Pace(event_wait_s=1.0, metric_wait_s=1.0, ack_timeout_s=30.0)
        telemetry, diary = open_device(
            f"mqtt://{relay.host}:{relay.port}", tmp_path, clock, pace=pace, window_s=1.0, samples_per_s=10.0
        )
        worker = Worker(telemetry, diary, 1)

        def work(seconds: float) -> None:
            end_s = clock.now_s() + seconds
            while clock.now_s() < end_s:
                worker.step(clock.now_s())
                clock.advance(STEP_S)

        eventually(telemetry._uplink.connected, "no connection")
        work(30.0)
        assert telemetry.flush(clock.now_s(), PATIENCE_VIRTUAL_S)
        before = telemetry.counters()
        assert before.stored_acked == before.records_created > 50
        getattr(relay, how)()
        if how == "refuse":
            eventually(lambda: not telemetry._uplink.connected(), "the cut was not noticed")
        work(CUT_S)
        during = telemetry.counters()
        assert during.stored_acked == before.stored_acked
        assert during.pending > CUT_S / STEP_S  # all of it waits on the device's disk
        relay.forward()
        eventually(telemetry._uplink.connected, "no connection after the cut")
        work(30.0)
        assert telemetry.flush(clock.now_s(), PATIENCE_VIRTUAL_S)
        diary.note()
        telemetry.close()
        verdict = judge(collector.store, read(tmp_path / DIARY))
        print(f"{CUT_S:.0f} virtual s, {how}: {verdict}")
        assert verdict.lost == {}
        assert verdict.stored == verdict.committed
        if how == "refuse":
            told = [record.event for _, record in collector.store.events() if record.event is not Event.MODE]
            assert told == [Event.LINK_LOST, Event.LINK_RESTORED]


def test_a_line_that_swallows_what_is_sent_is_given_up_for_a_new_one(tmp_path: Path) -> None:
    now_s = 0.0
    with (
        start_broker("auto", tmp_path / "broker") as broker,
        Relay(("127.0.0.1", int(broker.url.rsplit(":", 1)[1]))) as relay,
    ):
        url = f"mqtt://{relay.host}:{relay.port}"
        line = Connection(
            url, "me", subscriptions=[], on_message=lambda _: None, keepalive_s=3600, clock_s=lambda: now_s
        )
        line.start()
        assert line.wait_connected(10.0)
        for _ in range(3):  # a broker that answers may be asked after any pause
            assert line.publish("tamiyo/v1/f/d/t", b"heard")
            line.wait_sent(10.0)
            eventually(lambda: line._unanswered_since_s is None, "no answer")
            now_s += 10 * DEAF_S
        before = relay.figures().connections
        relay.swallow()
        assert line.publish("tamiyo/v1/f/d/t", b"swallowed")
        now_s += DEAF_S - 1
        assert line.publish("tamiyo/v1/f/d/t", b"too early to tell")
        now_s += 1
        assert not line.publish("tamiyo/v1/f/d/t", b"refused")
        eventually(lambda: relay.figures().connections > before, "no new line was opened")
        relay.forward()
        eventually(lambda: line.publish("tamiyo/v1/f/d/t", b"heard again"), "it is still deaf")
        line.stop()


def outage(folder: Path, cut_s: float, *, how: str, rate: float) -> Verdict:
    """In real time, of the device's network and then also of the collector's, each with a real process."""
    with Site("auto", folder, device_options=["--rate", str(rate), "--patience-s", "240"], relayed=True) as site:
        site.start("collector")
        site.start("device")
        time.sleep(5.0)
        for relay in site.relays:
            getattr(relay, how)()
        time.sleep(cut_s)
        assert site.ended() == []
        for relay in site.relays:
            relay.forward()
        time.sleep(5.0)
        verdict = site.finish(patience_s=300.0)
    print(f"{cut_s:.0f} s, {how}, {rate:.0f} inferences/s: {verdict}")
    assert verdict.lost == {}
    assert verdict.boots == 1
    assert verdict.committed > cut_s * rate / 10  # however slow the machine is today
    return verdict


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["refuse", "swallow"])
def test_a_network_that_is_away_for_a_minute_of_real_time_costs_nothing(tmp_path: Path, how: str) -> None:
    outage(tmp_path, 60.0, how=how, rate=500.0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        outage(Path(folder), float(sys.argv[1]), how=sys.argv[2] if len(sys.argv) > 2 else "refuse", rate=100.0)
