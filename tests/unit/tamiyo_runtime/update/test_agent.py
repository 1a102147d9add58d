"""A device obeys orders and changes its bundle over an air that loses, doubles, damages and shuffles."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.update.agent import Agent
from tamiyo_runtime.update.apply import install
from tamiyo_runtime.update.disk import Disk
from tamiyo_runtime.update.health import Verdict
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.states import SlotState
from tamiyo_runtime.update.store import Store
from tests.fleet import Device, Office, runnable
from tests.power import CuttingDisk
from tests.unit.tamiyo_runtime.update.agents import Releases, disk_with, hear, offer, settled, until
from tests.updates import CHUNK_BYTES, opened, order


def test_a_bundle_that_is_offered_is_fetched_tried_and_kept_while_the_run_goes_on(
    disk: CuttingDisk, releases: Releases
) -> None:
    device, office = Device(disk), Office(Shelf(releases[2]))
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.version == 2, device, office)
    assert device.record.on_trial
    assert device.record.starts == 1
    until(lambda: not device.record.on_trial, device)
    assert runnable(disk).slots[str(device.record.running)].state is SlotState.CONFIRMED
    assert device.switches == [2]
    assert device.reported().verdict is Verdict.CONFIRM
    device.step()
    told = [detail for event, _, detail in device.events if event is Event.UPDATE]
    assert [text.split()[2] for text in told] == ["receiving", "trial", "confirmed"]
    assert (Event.ORDER, 1, "bundle") in device.events


def test_a_bundle_that_fails_its_trial_is_left_by_another_switch_and_not_fetched_again(
    disk: CuttingDisk, releases: Releases
) -> None:
    device, office = Device(disk), Office(Shelf(releases[3]))
    hear(device, order(bundle=offer(releases[3])))
    until(lambda: device.switches == [3, 1], device, office)
    record = runnable(disk)
    assert "deadline misses" in str(record.slots[record.idle].reason)
    asked = office.asked
    hear(device, order(2, bundle=offer(releases[3])))
    until(lambda: device.now_s > 900, device, office, most=1000)
    assert (device.version, office.asked) == (1, asked)
    reported = device.reported()
    assert reported.verdict is Verdict.ROLLBACK
    assert reported.rejected == (offer(releases[3]).sha256[:16],)
    assert settled(device)


@pytest.mark.parametrize(("before", "after", "kept"), [(0, 2, False), (2, 2, True), (2, 5, False)])
def test_a_device_that_skipped_before_the_update_may_go_on_to_and_no_more(
    disk: CuttingDisk, releases: Releases, before: int, after: int, kept: bool
) -> None:
    """Samples skipped of twelve or so, as by a budget that does not last for all."""
    device, office = Device(disk), Office(Shelf(releases[2]))

    def step() -> None:
        skipped = before if device.version == 1 else after
        device.tally.samples += skipped
        device.tally.skips["skip_energy"] += skipped
        device.step()
        office.serve(device)

    for _ in range(10):
        step()
    hear(device, order(bundle=offer(releases[2])))
    for _ in range(60):
        step()
    assert not device.record.on_trial
    assert (device.version == 2) is kept


@pytest.mark.parametrize("ordered", [True, False])
def test_what_an_order_in_the_middle_of_a_trial_changes_is_not_charged_to_the_bundle(
    disk: CuttingDisk, releases: Releases, ordered: bool
) -> None:
    """Two samples of forty may be skipped: that many are, and a third one when the limits may be others."""
    device, office = Device(disk), Office(Shelf(releases[2]))
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.version == 2, device, office)
    device.tally.samples += 2
    device.tally.skips["skip_energy"] += 2
    hear(device, order(2, budget=Budget(latency_ms=5000.0) if ordered else None, policy=None if ordered else False))
    device.step()
    device.tally.samples += 1
    device.tally.skips["skip_energy"] += 1
    until(lambda: not device.record.on_trial, device)
    assert (device.record.slots["b"].state is SlotState.CONFIRMED) is ordered


def test_a_device_outside_the_share_waits_until_it_is_raised(disk: CuttingDisk, releases: Releases) -> None:
    device, office = Device(disk), Office(Shelf(releases[2]))
    none = offer(releases[2], 0)
    assert not none.reaches("pump-7")
    hear(device, order(bundle=none))
    until(lambda: device.now_s > 50, device, office)
    assert (office.asked, device.version) == (0, 1)
    assert not device.reported().reaches
    hear(device, order(2, stage_percent=100))
    until(lambda: device.version == 2, device, office)


def test_on_a_narrow_link_orders_are_obeyed_and_the_bundle_waits_in_silence(
    disk: CuttingDisk, releases: Releases
) -> None:
    device = Device(disk, wide=False)
    hear(device, order(bundle=offer(releases[2])), order(2, policy=False))
    until(lambda: device.now_s > 50, device, Office(Shelf(releases[2])))
    assert not device.use_policy
    assert device.version == 1
    assert device.air.sent == []
    assert [value for event, value, _ in device.events if event is Event.ORDER] == [1, 2]


def test_what_is_done_to_the_folder_by_hand_is_done_in_the_run(disk: CuttingDisk, releases: Releases) -> None:
    device = Device(disk)
    other = Store.open(disk)
    install(other, releases[2], lambda name: opened(disk, name), chunk_bytes=CHUNK_BYTES)
    until(lambda: device.version == 2, device, most=5)
    other = Store.open(disk)
    if other.record.on_trial:
        other.confirm()
    other.fail("by hand", allow_downgrade=True)
    until(lambda: device.version == 1, device, most=5)


def test_what_is_done_to_the_folder_while_an_agent_begins_is_noticed(
    disk: CuttingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, opens = Device(disk), Store.open

    def and_somebody_else_writes(disk: Disk) -> Store:
        mine, other = opens(disk), opens(disk)
        other.commit(replace(other.record, policy=False))
        return mine

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Store, "open", and_somebody_else_writes)
        device.agent = Agent(disk, device.air, device.exchange, device.agent._tools)
    device.step()
    device.step()
    assert not device.record.policy
    assert not device.use_policy


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 30),
    loses=st.sampled_from([0.0, 0.1, 0.4]),
    doubles=st.sampled_from([0.0, 0.3]),
    damages=st.sampled_from([0.0, 0.1]),
    shuffles=st.booleans(),
    restarts=st.lists(st.integers(1, 40), max_size=6),
    sick=st.booleans(),
)
def test_whatever_the_air_does_and_however_often_it_restarts_the_device_ends_confirmed_in_bounded_memory(
    releases: Releases,
    seed: int,
    loses: float,
    doubles: float,
    damages: float,
    shuffles: bool,
    restarts: list[int],
    sick: bool,
) -> None:
    disk = disk_with(releases[1])
    device = Device(disk)
    path = releases[3 if sick else 2]
    office = Office(Shelf(path), random.Random(seed), loses=loses, doubles=doubles, damages=damages, shuffles=shuffles)
    envelope = order(bundle=offer(path))
    hear(device, envelope)
    for steps in [*restarts, 600]:
        for _ in range(steps):
            device.step()
            office.serve(device)
            assert len(device.agent._heard) <= 8
            fetch = device.agent._fetch
            if fetch is not None:
                assert len(fetch._asked) <= 32
                assert sum(map(len, fetch._pieces.values())) <= fetch._list_bytes
            if device.record.rejected or device.version == 2:
                break
        record = runnable(disk)
        if record.on_trial and record.starts > 2:
            continue  # once more, and it would go back for good: that is another test
        device = Device(disk)  # a restart: only the disk and the broker's retained order are left
        office.read = 0
        hear(device, envelope)
    until(lambda: settled(device), device, office)
    record = runnable(disk)
    assert record.slots[str(record.running)].version == (1 if sick else 2)
    assert record.slots[str(record.running)].state is SlotState.CONFIRMED
    assert bool(record.rejected) == sick
