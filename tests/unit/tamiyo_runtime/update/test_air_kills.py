"""A device is killed at every step of updates over the air: it always comes back with a verified bundle, and ends them.

One life: version 2 is offered, fetched, tried and confirmed; version 3 is offered and goes back; the policy is switched
off. It is killed after every operation on its disk, with what was not synced lost, kept or torn; and, all on disk being
kept, between any two of its turns, with all that was in memory and on the air gone. What is counted is lives in which
the device came back every time and the story came to its end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update.apply import install
from tamiyo_runtime.update.moves import MAX_STARTS
from tamiyo_runtime.update.record import Offer, Record
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.states import SlotState
from tamiyo_runtime.update.store import Store
from tamiyo_train.faults.bound import lower_bound
from tests.fleet import Air, Device, Office, runnable
from tests.power import CuttingDisk, Fate, PowerCut
from tests.updates import CHUNK_BYTES, FACTORY, OFFICE, fresh, opened, order, release

TURNS = 300
ENOUGH = 149
"""Lives without a failure from which on the bound is above 0.98."""


class Story:
    """The releases, the orders about them, and where a device is in between."""

    def __init__(self, folder: Path) -> None:
        self.paths = {version: release(folder, version) for version in (1, 2, 3)}
        self.shelves = {version: Shelf(self.paths[version]) for version in (2, 3)}
        offers = {v: Offer(sha256=shelf.sha256, size_bytes=shelf.size_bytes) for v, shelf in self.shelves.items()}
        self.orders = (order(1, bundle=offers[2]), order(2, bundle=offers[3]), order(3, policy=False))

    def disk(self) -> CuttingDisk:
        disk = CuttingDisk()
        install(Store.create(disk, fresh()), self.paths[1], lambda name: opened(disk, name), chunk_bytes=CHUNK_BYTES)
        disk.operations = 0
        return disk

    def step_of(self, record: Record) -> int:
        """Which order the office sends now: the next one when the one before has come to its end."""
        if record.highest(FACTORY.public.id, "tiny") < 2 and not record.rejected:
            return 0
        rejected = record.slots[record.idle].state is SlotState.REJECTED
        return 2 if rejected and record.counters.get(OFFICE.public.id, 0) >= 2 else 1

    def ended(self, record: Record) -> bool:
        return not record.policy


@dataclass
class Life:
    """One device's. ``committed``: what the device believed to be on disk when it was killed last."""

    story: Story
    disk: CuttingDisk
    turns: int = 0
    kills: int = 0
    committed: Record | None = None

    def live(self, kill_before_turn: int | None = None) -> bool:
        """From a start to the end of the story, or to a kill; whether it was the end."""
        device = None
        try:
            device = Device(self.disk, Air())
            offices = {version: Office(shelf) for version, shelf in self.story.shelves.items()}
            sent = -1
            for _ in range(TURNS):
                if self.story.ended(device.record):
                    return True
                self._turn(kill_before_turn)
                if (step := self.story.step_of(device.record)) != sent:
                    sent = step
                    device.air.inboxes.put(Channel.ORDER, self.story.orders[step])
                device.step()
                for office in offices.values():
                    office.read = min(office.read, len(device.air.sent))
                    office.serve(device)
        except PowerCut:
            self.kills += 1
            self.committed = device.record if device is not None else None
            return False
        raise AssertionError(f"the story did not end: {device.record}")

    def _turn(self, kill_before_turn: int | None) -> None:
        if self.turns == kill_before_turn:
            raise PowerCut
        self.turns += 1


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("releases"))


def check(disk: CuttingDisk, before: Record | None) -> Record:
    """What must hold whenever the device comes back: something verified runs and nothing committed is forgotten."""
    record = runnable(disk)
    if before is None:
        return record
    assert record.counters.get(OFFICE.public.id, 0) >= before.counters.get(OFFICE.public.id, 0)
    assert set(before.rejected) <= set(record.rejected)
    assert record.highest(FACTORY.public.id, "tiny") >= before.highest(FACTORY.public.id, "tiny")
    return record


def check_end(disk: CuttingDisk) -> None:
    record = runnable(disk)
    assert record.slots[str(record.running)].version == 2
    assert record.slots[str(record.running)].state is SlotState.CONFIRMED
    assert record.slots[record.idle].state is SlotState.REJECTED
    assert record.counters == {OFFICE.public.id: 3}
    assert not record.policy


def lives(story: Story, *, every: int) -> Iterator[bool]:
    """Whether each life went well: a kill at every operation of the disk and fate, and before every turn."""
    whole = Life(story, story.disk())
    assert whole.live()
    check_end(whole.disk)
    for number, (cut_at, fate) in enumerate((at, fate) for at in range(whole.disk.operations) for fate in Fate):
        if number % every == 0:
            yield went_well(story, cut_at, fate)
    for turn in range(0, whole.turns, every):
        yield went_well(story, None, Fate.KEPT, kill_before_turn=turn)


def went_well(story: Story, cut_at: int | None, fate: Fate, kill_before_turn: int | None = None) -> bool:
    life = Life(story, story.disk())
    life.disk.cut_at = cut_at
    try:
        assert not life.live(kill_before_turn)
        life.disk = life.disk.after_cut(fate, random.Random(cut_at))
        check(life.disk, life.committed)
        assert life.live()
        check_end(life.disk)
    except (AssertionError, TamiyoError):
        return False
    return life.kills == 1


def report(name: str, outcomes: list[bool]) -> float:
    failures = outcomes.count(False)
    bound = lower_bound(len(outcomes) - failures, len(outcomes))
    print(f"\n{name}: {failures} failures in {len(outcomes)} lives; at least {bound:.4f} come back (one-sided 95 %)")
    return bound


def test_a_sample_of_kills_at_every_step_of_updates_over_the_air_leaves_a_runnable_verified_bundle(
    story: Story,
) -> None:
    outcomes = list(lives(story, every=2))
    assert all(outcomes)
    assert len(outcomes) >= ENOUGH
    assert report("sample", outcomes) >= 0.98


@pytest.mark.long
def test_every_kill_at_every_step_of_updates_over_the_air_leaves_a_runnable_verified_bundle(story: Story) -> None:
    outcomes = list(lives(story, every=1))
    assert len(outcomes) >= 300
    assert all(outcomes)
    assert report("every kill", outcomes) >= 0.98


@pytest.mark.parametrize("seed", range(6))
def test_kills_that_follow_each_other_only_delay_the_end_or_send_the_device_back(story: Story, seed: int) -> None:
    """More starts of a trial than are allowed end it: the device is then on the version before, and stays there."""
    draw = random.Random(seed)
    life = Life(story, story.disk())
    for _ in range(8):
        life.disk.cut_at = life.disk.operations + draw.randrange(90)
        if life.live():
            break
        life.disk = life.disk.after_cut(draw.choice(list(Fate)), draw)
        assert check(life.disk, life.committed).starts <= MAX_STARTS
    life.disk.cut_at = None
    runnable(life.disk)


@pytest.mark.parametrize("operation", ["sync", "sync_folder"])
def test_the_campaign_notices_when_a_sync_is_left_out(
    story: Story, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The campaign is no pushover: the same kills are not survived when what is said is not on disk yet."""
    monkeypatch.setattr(CuttingDisk, operation, lambda disk, _name: disk._end(disk._cuts()))
    failures = sum(not went_well(story, cut_at, Fate.LOST) for cut_at in range(0, 90, 6))
    assert failures > 0
