"""Bundles that a device gives up, and those it tries again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.control import Change, Loaded
from tamiyo_runtime.update.agent import RETRY_S
from tamiyo_runtime.update.disk import BusyError
from tamiyo_runtime.update.health import Verdict
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.states import SlotState
from tests.fleet import Device, Office, full, refuses, runnable
from tests.power import CuttingDisk
from tests.unit.tamiyo_runtime.update.agents import Releases, hear, offer, settled, until
from tests.updates import opened, order


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


def test_a_trial_that_ends_in_a_fault_is_given_up_before_the_next_start(disk: CuttingDisk, releases: Releases) -> None:
    device, office = Device(disk), Office(Shelf(releases[2]))
    assert not device.agent.crashed("nothing is on trial", 0.0)
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.version == 2, device, office)
    assert device.agent.crashed("the bare host failed", device.now_s)
    assert device.reported().verdict is Verdict.ROLLBACK
    assert Device(disk).version == 1
    assert runnable(disk).slots[device.record.idle].reason == "the bare host failed"


def test_a_list_that_is_not_this_bundles_costs_time_and_no_more(disk: CuttingDisk, releases: Releases) -> None:
    """Whoever may write to the chunk topic can answer with a list of other hashes for the same file."""
    device, office = Device(disk), Office(Shelf(releases[2]))
    forged = Office(Shelf(releases[2]))
    chunks = forged.shelf._cut(1016)
    forged.shelf._lists[1016] = replace(chunks, digests=bytes(len(chunks.digests)))
    hear(device, order(bundle=offer(releases[2])))
    until(lambda: device.record.slots["b"].state is SlotState.RECEIVING, device, forged)
    until(lambda: device.version == 2, device, office, most=4000)
