"""What a device obeys, when, and what it takes no notice of."""

from __future__ import annotations

import random

import pytest

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.transport.inbox import ROOM
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update.messages import Outcome
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.store import Store
from tests.fleet import Device, Office
from tests.power import CuttingDisk, Fate
from tests.unit.tamiyo_runtime.update.agents import Releases, hear, offer, settled, until
from tests.updates import NOW_S, OFFICE, STRANGER, order


def test_the_record_is_on_disk_before_anything_is_said(disk: CuttingDisk, releases: Releases) -> None:
    device, office = Device(disk), Office(Shelf(releases[2]))
    publish = device.air.publish

    def check(channel: Channel, payload: bytes) -> bool:
        if channel is Channel.REPORTED:
            durable = disk.after_cut(Fate.LOST, random.Random(0))
            assert Store.open(durable).record == device.record
        return publish(channel, payload)

    device.air.publish = check  # type: ignore[method-assign]
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.version == 2 and settled(device), device, office)
    hear(device, order(2, policy=False))
    assert not Store.open(disk.after_cut(Fate.LOST, random.Random(0))).record.policy


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (order(key=STRANGER, policy=False), "signature"),
        (order(device="pump-8", policy=False), "target"),
        (order(not_before_s=NOW_S - 100, expires_s=NOW_S - 50, policy=False), "time"),
        (order(not_before_s=NOW_S + 50, policy=False), "time"),
        (order(stage_percent=50), "impossible"),
        (b"\x00" * 3000, "signature"),
        (b'{"payload": "e30=", "payloadType": "x", "signatures": []}', "signature"),
    ],
)
def test_an_order_that_is_not_for_this_device_here_and_now_changes_nothing_and_is_counted(
    disk: CuttingDisk, envelope: bytes, reason: str
) -> None:
    device = Device(disk)
    before = device.record
    hear(device, envelope)
    assert device.record == before == Store.open(disk).record
    reported = device.reported()
    assert reported.refused == {reason: 1}
    assert reported.order is not None
    assert reported.order.outcome is Outcome.REFUSED
    assert reported.order.problem.startswith(reason)
    device.step()
    assert [event for event, _, _ in device.events] == [Event.ORDER]


def test_an_order_is_obeyed_once_and_one_that_was_replayed_later_is_refused(disk: CuttingDisk) -> None:
    device = Device(disk)
    off, on = order(1, policy=False), order(2, policy=True)
    hear(device, off)
    device.step()
    assert not device.use_policy
    hear(device, off, off)  # as a broker sends it again after a reconnection
    assert not device.reported().refused
    hear(device, on, off)
    device.step()
    assert device.use_policy
    assert device.reported().refused == {"counter": 1}
    again = Device(disk)
    hear(again, on)  # retained: the first thing that is heard after a start
    reported = again.reported()
    assert reported.order is not None
    assert (reported.order.outcome, reported.order.counter) == (Outcome.OBEYED, 2)
    assert not reported.refused


def test_an_order_that_came_before_the_clock_was_set_is_obeyed_when_it_is(disk: CuttingDisk) -> None:
    now_s = [0]
    device = Device(disk, clock_s=lambda: now_s[0])
    hear(device, order(policy=False))
    until(lambda: device.now_s > 100, device)
    assert device.record.policy
    assert device.reported().refused == {"time": 1}
    now_s[0] = NOW_S + 5
    device.step()
    assert not device.record.policy
    device.step()
    device.step()
    order_report = device.reported().order
    assert order_report is not None
    assert order_report.outcome is Outcome.OBEYED


def test_an_order_that_is_too_late_is_not_tried_again(disk: CuttingDisk) -> None:
    now_s = [NOW_S + 3601]
    device = Device(disk, clock_s=lambda: now_s[0])
    hear(device, order(policy=False))
    now_s[0] = NOW_S + 5
    until(lambda: device.now_s > 100, device)
    assert device.record.policy


def test_limits_that_are_ordered_hold_at_once_and_after_a_start(disk: CuttingDisk) -> None:
    device = Device(disk)
    hear(device, order(budget=Budget(latency_ms=7.0)))
    device.step()
    assert device.budget is not None
    assert device.budget.latency_ms == 7.0
    assert Device(disk).budget == Budget(latency_ms=7.0)
    hear(device, order(2, lift_budget=True))
    device.step()
    assert device.budget == device.runs.bundle.manifest.budget


def test_limits_that_cannot_be_held_are_taken_back_so_that_the_next_start_works(disk: CuttingDisk) -> None:
    device = Device(disk, objects=lambda change: "too tight" if change.budget == Budget(latency_ms=0.1) else None)
    hear(device, order(budget=Budget(latency_ms=0.1)))
    until(lambda: device.record.budget is None, device)
    device.step()
    reported = device.reported()
    assert reported.order is not None
    assert (reported.order.outcome, reported.order.problem) == (Outcome.UNDONE, "too tight")
    assert Store.open(disk).record.counters == {OFFICE.public.id: 1}
    assert Store.open(disk).record.budget is None


def test_a_flood_of_garbage_is_bounded_counted_and_changes_nothing(disk: CuttingDisk, releases: Releases) -> None:
    device, draw = Device(disk), random.Random(3)
    for _ in range(30):
        for _ in range(40):
            device.air.inboxes.put(Channel.ORDER, draw.randbytes(draw.randrange(400)))
            device.air.inboxes.put(Channel.CHUNK, draw.randbytes(draw.randrange(2000)))
        device.step()
    refused = sum(device.reported().refused.values())
    assert 30 <= refused <= 4 * 31
    assert len([event for event, _, _ in device.events if event is Event.ORDER]) == 1
    hear(device, order(bundle=offer(releases[2])))
    office = Office(Shelf(releases[2]))
    for _ in range(100):
        device.air.inboxes.put(Channel.CHUNK, draw.randbytes(200))
        device.step()
        office.serve(device)
    assert device.version == 2
    assert len(device.agent._heard) <= ROOM[Channel.ORDER].messages
