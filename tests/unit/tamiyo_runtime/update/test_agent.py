"""A device obeys orders and changes its bundle over an air that loses, doubles, damages and shuffles."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.control import Change, Loaded
from tamiyo_runtime.transport.inbox import ROOM
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update.agent import RETRY_S, Agent
from tamiyo_runtime.update.apply import install
from tamiyo_runtime.update.disk import BusyError, Disk
from tamiyo_runtime.update.health import Verdict
from tamiyo_runtime.update.messages import Outcome
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.record import Offer
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.states import SlotState
from tamiyo_runtime.update.store import Store
from tests.fleet import Device, Office, full, refuses, runnable
from tests.power import CuttingDisk, Fate
from tests.updates import CHUNK_BYTES, NOW_S, OFFICE, STRANGER, fresh, opened, order, release

Releases = dict[int, Path]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    folder = tmp_path_factory.mktemp("releases")
    return {version: release(folder, version) for version in (1, 2, 3)}


def disk_with(path: Path) -> CuttingDisk:
    """A device on which a bundle was applied by hand."""
    disk = CuttingDisk()
    store = Store.create(disk, fresh())
    install(store, path, lambda name: opened(disk, name), chunk_bytes=CHUNK_BYTES)
    return disk


@pytest.fixture
def disk(releases: Releases) -> CuttingDisk:
    return disk_with(releases[1])


def offer(path: Path, percent: int = 100) -> Offer:
    shelf = Shelf(path)
    return Offer(sha256=shelf.sha256, size_bytes=shelf.size_bytes, stage_percent=percent)


def until(condition: Callable[[], bool], device: Device, office: Office | None = None, most: int = 400) -> None:
    for _ in range(most):
        device.step()
        if office is not None:
            office.serve(device)
        if condition():
            return
    raise AssertionError(f"not within {most} steps: {device.record.slots}")


def settled(device: Device) -> bool:
    return not device.record.on_trial and not device.agent.fetching


def hear(device: Device, *envelopes: bytes) -> None:
    for envelope in envelopes:
        device.air.inboxes.put(Channel.ORDER, envelope)
    device.step()


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


def test_a_bundle_that_the_session_cannot_run_is_given_up(disk: CuttingDisk, releases: Releases) -> None:
    device = Device(disk, objects=lambda change: "does not fit" if change.loaded is not None else None)
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: bool(device.record.rejected), device, Office(Shelf(releases[2])))
    assert device.version == 1
    assert device.switches == []
    record = runnable(disk)
    assert record.slots[record.idle].reason == "does not fit"


def test_a_bundle_that_loading_breaks_on_however_is_given_up(
    disk: CuttingDisk, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, office = Device(disk), Office(Shelf(releases[2]))

    def broken(disk: object, name: str) -> Loaded:
        raise MemoryError("no room for the arena")

    monkeypatch.setattr("tests.fleet.load", broken)
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: bool(device.record.rejected), device, office)
    record = runnable(disk)
    assert (device.version, record.slots[record.idle].reason) == (1, "MemoryError: no room for the arena")


def test_a_folder_that_cannot_be_locked_is_told_and_one_that_is_in_use_is_not(disk: CuttingDisk) -> None:
    device = Device(disk)
    for error, told in ((BusyError("another update works"), None), (InputError("read-only"), "read-only")):

        @contextmanager
        def lock(error: InputError = error) -> Iterator[None]:
            raise error
            yield

        device.agent._tools = replace(device.agent._tools, lock=lock)
        hear(device, order(policy=False))
        assert device.record.policy
        assert device.reported().trouble == told


def test_a_bundle_that_was_refused_while_somebody_was_in_the_folder_is_given_up_all_the_same(
    disk: CuttingDisk, releases: Releases
) -> None:
    held = [False]

    def objects(change: Change) -> str | None:
        if change.loaded is None or change.loaded.bundle.manifest.version == 1:
            return None
        held[0] = not refusals
        refusals.append("no room for it")
        return refusals[-1]

    @contextmanager
    def lock() -> Iterator[None]:
        if held[0]:
            held[0] = False
            raise BusyError("another update works")
        yield

    refusals: list[str] = []
    device, office = Device(disk, objects=objects), Office(Shelf(releases[2]))
    device.agent._tools = replace(device.agent._tools, lock=lock)
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: bool(device.record.rejected), device, office)
    record = runnable(disk)
    assert (device.version, record.slots[record.idle].reason) == (1, "no room for it")
    assert len(refusals) == 2


def test_a_bundle_that_the_session_refused_once_is_tried_again_when_it_is_offered_again(
    disk: CuttingDisk, releases: Releases
) -> None:
    answers: list[str | None] = ["no room for it", None, None]
    device, office = Device(disk, objects=lambda change: answers.pop(0)), Office(Shelf(releases[2]))
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: bool(device.record.rejected), device, office)
    hear(device, order(2, bundle=offer(releases[2])))
    until(lambda: device.now_s > 100, device, office)
    assert device.version == 1
    hear(device, order(3, bundle=replace(offer(releases[2]), again=True)))
    until(lambda: device.version == 2 and settled(device), device, office)
    assert runnable(disk).rejected == ()


def test_a_bundle_that_the_canary_does_not_come_back_from_never_runs(disk: CuttingDisk, releases: Releases) -> None:
    device = Device(disk, test=refuses("its process was killed"))
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: bool(device.record.rejected), device, Office(Shelf(releases[2])))
    until(lambda: device.now_s > 200, device)
    assert device.switches == []
    record = runnable(disk)
    assert (record.slots[record.idle].state, record.slots[record.idle].reason) == (
        SlotState.REJECTED,
        "its process was killed",
    )


def test_what_is_no_fault_of_the_bundle_is_tried_again_later(disk: CuttingDisk, releases: Releases) -> None:
    tests: list[float] = []

    def test(name: str) -> Identity:
        tests.append(device.now_s)
        return opened(disk, name) if len(tests) > 2 else full(name)

    device = Device(disk, test=test)
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: len(tests) == 1, device, Office(Shelf(releases[2])))
    device.step()
    assert device.reported().trouble == "no space left on device"
    until(lambda: device.version == 2, device)
    assert len(tests) == 3
    assert all(later - sooner >= RETRY_S for sooner, later in pairwise(tests))


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


def test_a_trial_that_ends_in_a_fault_is_given_up_before_the_next_start(disk: CuttingDisk, releases: Releases) -> None:
    device, office = Device(disk), Office(Shelf(releases[2]))
    assert not device.agent.crashed("nothing is on trial", 0.0)
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.version == 2, device, office)
    assert device.agent.crashed("the bare host failed", device.now_s)
    assert device.reported().verdict is Verdict.ROLLBACK
    assert Device(disk).version == 1
    assert runnable(disk).slots[device.record.idle].reason == "the bare host failed"


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


def test_a_list_that_is_not_this_bundles_costs_time_and_no_more(disk: CuttingDisk, releases: Releases) -> None:
    """Whoever may write to the chunk topic can answer with a list of other hashes for the same file."""
    device, office = Device(disk), Office(Shelf(releases[2]))
    forged = Office(Shelf(releases[2]))
    chunks = forged.shelf._cut(1016)
    forged.shelf._lists[1016] = replace(chunks, digests=bytes(len(chunks.digests)))
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.record.slots["b"].state is SlotState.RECEIVING, device, forged)
    until(lambda: device.version == 2, device, office, most=4000)


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
