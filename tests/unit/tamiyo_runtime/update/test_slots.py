"""Slots: one table of what may follow what, a record that cannot be wrong, and a way back from everything."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import (
    DowngradeError,
    InputError,
    IntegrityError,
    SchemaError,
    SignatureError,
    TamiyoError,
)
from tamiyo_runtime.update import moves
from tamiyo_runtime.update.apply import install
from tamiyo_runtime.update.disk import LocalDisk
from tamiyo_runtime.update.moves import MAX_STARTS, Identity
from tamiyo_runtime.update.record import Record, Slot
from tamiyo_runtime.update.states import RUNNABLE, TRANSITIONS, IllegalMoveError, SlotEvent, SlotState, step
from tamiyo_runtime.update.store import RECORD, Store
from tests.power import CuttingDisk
from tests.updates import FACTORY, STRANGER, fresh, opened, release


def device(*releases: Path) -> tuple[CuttingDisk, Store]:
    """A device on which these were installed and confirmed, one after the other."""
    disk = CuttingDisk()
    store = Store.create(disk, fresh())
    for path in releases:
        apply(disk, store, path)
        if store.record.on_trial:
            store.confirm()
    return disk, store


def apply(disk: CuttingDisk, store: Store, path: Path, *, again: bool = False) -> None:
    install(store, path, lambda name: opened(disk, name), again=again)


def test_the_table_names_every_state_and_every_event() -> None:
    assert set(TRANSITIONS) == set(SlotState)
    assert {event for events in TRANSITIONS.values() for event in events} == set(SlotEvent)
    assert set(SlotState) == {state for events in TRANSITIONS.values() for state in events.values()} | {SlotState.EMPTY}


@pytest.mark.parametrize("state", SlotState)
def test_an_event_leads_where_the_table_says_or_raises(state: SlotState) -> None:
    for event in SlotEvent:
        if event in TRANSITIONS[state]:
            assert step(state, event) is TRANSITIONS[state][event]
        else:
            with pytest.raises(IllegalMoveError, match=f"a slot that is {state} cannot {event}"):
                step(state, event)


MOVES: tuple[Callable[[Record, int], Record], ...] = (
    lambda r, n: moves.begin(r, sha256=f"{n:064x}", size_bytes=n + 1),
    lambda r, n: moves.begin(r, sha256=f"{n:064x}", size_bytes=n + 1, again=True),
    lambda r, _: moves.complete(r),
    lambda r, n: moves.accept(r, Identity(name="net", version=n + 1, signer="ab" * 32)),
    lambda r, _: moves.refuse(r, "no good"),
    lambda r, _: moves.switch(r),
    lambda r, _: moves.confirm(r),
    lambda r, _: moves.fail(r, "failed"),
    lambda r, _: moves.fail(r, "failed", allow_downgrade=True),
    lambda r, _: moves.started(r),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 4)), max_size=60))
def test_whatever_is_tried_in_whatever_order_there_is_always_something_that_runs(
    steps: list[tuple[Callable[[Record, int], Record], int]],
) -> None:
    record, ran = fresh(), False
    for move, number in steps:
        before = record
        try:
            record = move(record, number)
        except TamiyoError:
            assert record is before
        ran = ran or record.running is not None
        assert (record.running is not None) == ran
        if record.running is not None:
            assert record.slots[record.running].state in RUNNABLE
        if record.on_trial:
            assert record.slots[record.idle].state is SlotState.CONFIRMED
        for signer, names in before.versions.items():
            assert all(record.versions[signer][name] >= version for name, version in names.items())
        assert Record.from_bytes(record.to_bytes()) == record


def test_trying_at_random_comes_to_every_state() -> None:
    """What the test above walks through is the whole table and not its beginning."""
    draw, record, seen = random.Random(5), fresh(), set()
    for _ in range(3000):
        with contextlib.suppress(TamiyoError):
            record = draw.choice(MOVES)(record, draw.randrange(5))
        seen |= {slot.state for slot in record.slots.values()}
    assert seen == set(SlotState)


def test_a_record_that_cannot_be_is_not_built() -> None:
    full = {"sha256": "ab" * 32, "size_bytes": 1, "name": "net", "version": 1, "signer": "cd" * 32}
    trial, good = Slot(state=SlotState.TRIAL, **full), Slot(state=SlotState.CONFIRMED, **full)
    for slots, running in (
        ({"a": trial, "b": Slot()}, "a"),  # nothing to go back to
        ({"a": good, "b": trial}, "a"),  # on trial, and does not run
        ({"a": good, "b": Slot()}, "b"),  # what runs is empty
        ({"a": good, "b": Slot()}, None),
        ({"a": good, "b": Slot()}, "c"),
    ):
        with pytest.raises(SchemaError):
            replace(fresh(), slots=slots, running=running)
    with pytest.raises(SchemaError):
        Slot(state=SlotState.STAGED)


def test_the_first_bundle_is_confirmed_and_a_later_one_is_on_trial(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1))
    assert (store.record.running, store.record.on_trial) == ("a", False)
    apply(disk, store, release(tmp_path, 2))
    assert (store.record.running, store.record.on_trial) == ("b", True)
    store.confirm()
    assert (store.record.running, store.record.on_trial) == ("b", False)
    assert Store.open(disk).record == store.record


def test_a_trial_that_is_started_too_often_goes_back_alone_and_is_not_applied_again_unasked(tmp_path: Path) -> None:
    bad = release(tmp_path, 2)
    disk, store = device(release(tmp_path, 1))
    apply(disk, store, bad)
    for _ in range(MAX_STARTS):
        assert store.start().file == "b/bundle.tamiyo"
    back = store.start()
    assert (back.file, back.went_back) == ("a/bundle.tamiyo", f"started {MAX_STARTS} times without being confirmed")
    assert store.start().went_back is None
    with pytest.raises(InputError, match="rejected on this device before"):
        apply(disk, store, bad)
    apply(disk, store, bad, again=True)
    assert store.record.on_trial


def test_on_a_full_disk_a_start_counts_for_itself_and_the_record_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, store = device(release(tmp_path, 1))
    apply(disk, store, release(tmp_path, 2))
    for _ in range(MAX_STARTS - 1):
        store.start()
    before = store.record

    def full(*_: object) -> None:
        raise InputError("cannot use record: No space left") from OSError(errno.ENOSPC, "No space left")

    def started_on_a_full_disk() -> tuple[str, bool]:
        with monkeypatch.context() as patch:
            patch.setattr(disk, "write", full)
            started = Store.open(disk).start()
        assert "No space left" in str(started.untold)
        return started.file, started.went_back is not None

    assert started_on_a_full_disk() == ("b/bundle.tamiyo", False)
    assert Store.open(disk).record == before
    store.start()
    assert started_on_a_full_disk() == ("a/bundle.tamiyo", True)
    again = Store.open(disk).start()  # there is room: now it is written down
    assert (again.file, again.untold) == ("a/bundle.tamiyo", None)
    assert Store.open(disk).record.running == "a"


def test_a_trial_can_be_taken_back_since_its_version_does_not_count_yet(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1))
    apply(disk, store, release(tmp_path, 9))
    store.fail("too slow")
    apply(disk, store, release(tmp_path, 2))
    assert store.record.slots[str(store.record.running)].version == 2


def test_a_lower_version_than_was_confirmed_is_refused_and_going_back_to_one_must_be_meant(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1), release(tmp_path, 5))
    with pytest.raises(DowngradeError, match="version 4 of 'tiny'; version 5 by the same signer was confirmed"):
        apply(disk, store, release(tmp_path, 4))
    assert store.record.slots[store.record.idle].state is SlotState.REJECTED
    disk, store = device(release(tmp_path, 1), release(tmp_path, 5))
    with pytest.raises(DowngradeError, match="version 1"):
        store.fail("by hand")
    store.fail("by hand", allow_downgrade=True)
    assert store.record.slots[str(store.record.running)].version == 1


def test_a_strangers_bundle_is_rejected_and_what_ran_still_runs(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1))
    with pytest.raises(SignatureError, match="not trusted"):
        apply(disk, store, release(tmp_path, 2, key=STRANGER))
    assert (store.record.running, store.record.slots["b"].state) == ("a", SlotState.REJECTED)
    assert "not trusted" in str(store.record.slots["b"].reason)


def test_a_missing_library_is_not_held_against_the_bundle(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1))

    def unable(_name: str) -> Identity:
        raise InputError("cannot read")

    with pytest.raises(InputError, match="cannot read"):
        install(store, release(tmp_path, 2), unable)
    assert store.record.slots["b"].state is SlotState.STAGED
    apply(disk, store, release(tmp_path, 2))
    assert store.record.on_trial


def test_nothing_is_applied_during_a_trial_and_nothing_is_confirmed_without_one(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1))
    with pytest.raises(IllegalMoveError, match="nothing is on trial"):
        store.confirm()
    with pytest.raises(IllegalMoveError, match="nothing to go back to"):
        store.fail("why not")
    apply(disk, store, release(tmp_path, 2))
    with pytest.raises(IllegalMoveError, match="on trial"):
        apply(disk, store, release(tmp_path, 3))
    with pytest.raises(InputError, match="runs already"):
        device_record = moves.confirm(store.record)
        moves.begin(device_record, sha256=str(device_record.slots["b"].sha256), size_bytes=1)


def test_a_file_that_rots_is_noticed_at_the_start_and_the_other_slot_runs(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1), release(tmp_path, 2))
    disk.corrupt("b/bundle.tamiyo", 5000)
    started = store.start()
    assert (started.file, started.went_back) == ("a/bundle.tamiyo", "the file in slot b is damaged")
    disk.corrupt("a/bundle.tamiyo", 5000)
    with pytest.raises(IntegrityError, match="nothing to go back to"):
        store.start()


def test_a_file_that_rots_between_its_verification_and_the_switch_does_not_run(tmp_path: Path) -> None:
    disk, store = device(release(tmp_path, 1))

    def rotting(name: str) -> Identity:
        found = opened(disk, name)
        disk.corrupt(name, 77)
        return found

    with pytest.raises(IntegrityError, match="no longer what it was"):
        install(store, release(tmp_path, 2), rotting)
    assert store.record.running == "a"


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_record_with_any_bit_turned_is_refused(position: int, bit: int) -> None:
    raw = bytearray(fresh().to_bytes())
    raw[position % len(raw)] ^= 1 << bit
    with pytest.raises(IntegrityError, match="record of updates is damaged"):
        Record.from_bytes(bytes(raw))


def test_a_folder_on_a_real_disk_does_the_same(tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir()
    disk = LocalDisk(root)
    store = Store.create(disk, fresh())
    with pytest.raises(InputError, match="already"):
        Store.create(disk, fresh())
    for version in (1, 2):
        install(store, release(tmp_path, version), lambda name: opened(disk, name))
    assert (root / store.start().file).read_bytes() == release(tmp_path, 2).read_bytes()
    assert sorted(path.name for path in root.iterdir()) == ["a", "b", RECORD]
    with disk.locked(), pytest.raises(InputError, match="another update works"), LocalDisk(root).locked():
        pass
    with pytest.raises(InputError, match=r"cannot use .*: No such file"):
        disk.read("c/none", 0, 1)


def test_a_full_disk_stops_an_update_and_what_ran_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "state"
    root.mkdir()
    disk = LocalDisk(root)
    store = Store.create(disk, fresh())
    install(store, release(tmp_path, 1), lambda name: opened(disk, name))

    def full(*_: object) -> None:
        raise InputError("cannot use b/bundle.tamiyo: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space"):
        patch.setattr(disk, "write_at", full)
        install(store, release(tmp_path, 2), lambda name: opened(disk, name))
    assert Store.open(disk).start().file == "a/bundle.tamiyo"
    install(Store.open(disk), release(tmp_path, 2), lambda name: opened(disk, name))
    assert Store.open(disk).start().file == "b/bundle.tamiyo"


def test_the_signer_is_remembered_by_fingerprint(tmp_path: Path) -> None:
    _, store = device(release(tmp_path, 3))
    assert store.record.versions == {FACTORY.public.id: {"tiny": 3}}
