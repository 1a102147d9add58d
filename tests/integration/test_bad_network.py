"""What travels is damaged, doubled, reordered, cut short, misnamed and made up: none of it is stored wrongly.

Once by a network that turns bits over and breaks connections, in both directions of both ends, MQTT's own packets
included; once by a bridge between two real brokers that spoils whole messages.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from collector.service import Collector
from simulators.relay import Conditions
from tamiyo_runtime.meters import MonotonicClock
from tamiyo_runtime.transport.broker import start_broker
from tests.faults.bridge import DEEDS, BadBridge
from tests.faults.device import DIARY, FLEET, STORE, Worker, open_device
from tests.faults.diary import judge, read
from tests.faults.site import Site

pytestmark = [pytest.mark.broker, pytest.mark.slow]

DAMAGE = Conditions(damage=3e-4)


def damaged_network(folder: Path, rounds: int) -> None:
    rng = random.Random(6)
    with Site("auto", folder, relayed=True) as site:
        site.start("collector")
        site.start("device")
        time.sleep(1.5)
        for _ in range(rounds):
            for relay in site.relays:
                relay.shape(up=DAMAGE, down=DAMAGE)
            time.sleep(rng.uniform(0.5, 1.5))
            for relay in site.relays:
                relay.shape()
                relay.cut()  # a packet whose length was damaged would else be waited for until the keep-alive ends it
            time.sleep(rng.uniform(0.2, 1.0))
        assert site.ended() == []
        damaged = sum(relay.figures().damaged for relay in site.relays)
        cut = sum(relay.figures().cut for relay in site.relays)
        verdict = site.finish()
    print(f"{damaged} bytes damaged, {cut} connections cut: {verdict}")
    assert damaged > rounds
    assert verdict.boots == 1
    assert verdict.lost == {}
    assert verdict.stored == verdict.committed > 100


def bad_bridge(folder: Path, seconds: float) -> None:
    clock = MonotonicClock()
    with (
        start_broker("auto", folder / "near") as near,
        start_broker("auto", folder / "far") as far,
        Collector(far.url, folder / STORE, FLEET) as collector,
        BadBridge(near.url, far.url, FLEET, seed=7) as bridge,
    ):
        telemetry, diary = open_device(near.url, folder, clock, samples_per_s=300.0)
        worker = Worker(telemetry, diary, 1)
        end_s = clock.now_s() + seconds
        while clock.now_s() < end_s or set(bridge.deeds) != set(DEEDS):
            worker.step(clock.now_s())
            time.sleep(0.003)
        bridge.mend()
        assert telemetry.flush(clock.now_s(), 60.0)
        diary.note()
        telemetry.close()
        verdict = judge(collector.store, read(folder / DIARY))
    print(f"{dict(bridge.deeds)}: {verdict}")
    assert verdict.lost == {}
    assert verdict.stored == verdict.committed > 100
    assert verdict.repeats > 0
    assert verdict.quarantined > 0


def test_a_network_that_damages_bytes_leads_to_nothing_wrong_in_the_store(tmp_path: Path) -> None:
    damaged_network(tmp_path, 2)


@pytest.mark.long
def test_a_network_that_damages_bytes_for_long_leads_to_nothing_wrong_in_the_store(tmp_path: Path) -> None:
    damaged_network(tmp_path, 40)


def test_a_bridge_that_spoils_messages_leads_to_nothing_wrong_in_the_store(tmp_path: Path) -> None:
    bad_bridge(tmp_path, 1.5)


@pytest.mark.long
def test_a_bridge_that_spoils_messages_for_long_leads_to_nothing_wrong_in_the_store(tmp_path: Path) -> None:
    bad_bridge(tmp_path, 60.0)
