"""Power is cut after every single operation of a device's life: it always comes back with a bundle that runs."""

from __future__ import annotations

import random

import pytest

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.update.record import Record
from tamiyo_runtime.update.states import RUNNABLE, SlotState
from tamiyo_runtime.update.store import RECORD, Store
from tests.power import CuttingDisk, Fate, PowerCut
from tests.updates import Story, opened


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story.tell(tmp_path_factory.mktemp("releases"))


def cut(story: Story, disk: CuttingDisk) -> Record | None:
    """Run into the cut; what had been committed by then."""
    story.store = None
    with pytest.raises(PowerCut):
        story.go_on(disk)
    return story.store.record if story.store else None


def check_found(disk: CuttingDisk, before: Record | None) -> None:
    """Nothing that was committed is lost, and what runs is whole, verified and allowed to run."""
    if disk.size(RECORD) is None:
        assert before is None
        return
    record = Store.open(disk).record
    if before is not None:
        for signer, names in before.versions.items():
            assert all(record.versions[signer][name] >= version for name, version in names.items())
        assert set(before.rejected) <= set(record.rejected)
        assert record.counters.items() >= before.counters.items()
        assert before.running is None or record.running is not None
    if record.running is not None:
        assert record.slots[record.running].state in RUNNABLE
    for name, slot in record.slots.items():
        if slot.state in {*RUNNABLE, SlotState.VERIFIED}:  # and what is kept to go back to is whole as well
            assert opened(disk, f"{name}/bundle.tamiyo").version == slot.version
        elif slot.state is SlotState.STAGED:
            opened(disk, f"{name}/bundle.tamiyo")


def test_after_a_cut_at_any_operation_a_verified_bundle_runs_and_the_update_can_be_ended(story: Story) -> None:
    whole = CuttingDisk()
    story.check_end(story.go_on(whole))
    runs = 0
    for cut_at in range(whole.operations):
        for fate in Fate:
            disk = CuttingDisk(cut_at)
            before = cut(story, disk)
            found = disk.after_cut(fate, random.Random(cut_at))
            check_found(found, before)
            if fate is Fate.MIXED or cut_at % 3 == 0:  # what was kept or lost whole is the easier case
                story.check_end(story.go_on(found))
            runs += 1
    assert runs == 3 * whole.operations >= 300


def test_cuts_that_follow_each_other_only_delay_the_end(story: Story) -> None:
    draw = random.Random(7)
    for _ in range(12):
        disk = CuttingDisk(draw.randrange(100))
        for _ in range(6):
            story.store = None
            try:
                story.go_on(disk)
            except PowerCut:
                before = story.store.record if story.store else None
                disk = disk.after_cut(draw.choice(list(Fate)), draw, draw.randrange(100))
                check_found(disk, before)
            else:
                break
        disk.cut_at = None
        story.check_end(story.go_on(disk))


@pytest.mark.parametrize("operation", ["sync", "sync_folder"])
def test_the_campaign_notices_when_a_sync_is_left_out(
    story: Story, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is no pushover: without either kind of sync the same cuts lose what had been committed."""
    monkeypatch.setattr(CuttingDisk, operation, lambda disk, _name: disk._end(disk._cuts()))
    found_out = 0
    for cut_at in range(0, 90, 6):
        disk = CuttingDisk(cut_at)
        before = cut(story, disk)
        try:
            check_found(disk.after_cut(Fate.LOST, random.Random(cut_at)), before)
        except (AssertionError, TamiyoError):  # whichever way it shows
            found_out += 1
    assert found_out > 0
