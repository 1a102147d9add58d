"""The store keeps each record once, and the ledger balances exactly when it should."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.arrivals import Announcement, Delivery, Rejected
from collector.store import QUARANTINE_ROWS, Store
from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.contracts.records import (
    Batch,
    Decision,
    Event,
    EventRecord,
    LossReason,
    Numbered,
    Record,
    Sample,
    Tombstone,
    Window,
    record_from_dict,
)
from tamiyo_runtime.contracts.skim import skimmed
from tamiyo_runtime.spool import Spool
from tests import strategies

BOOT = 7 << 16 | 1


def event(number: int) -> EventRecord:
    return EventRecord(t_ms=number, event=Event.BUDGET, value=number)


def tombstone(first: int, last: int, boot: int = BOOT) -> Tombstone:
    return Tombstone(t_ms=0, boot=boot, first_seq=first, last_seq=last, reason=LossReason.SPOOL_FULL)


def delivery(records: dict[int, Record], *, created: int = 0, device: str = "d", boot: int = BOOT) -> Delivery:
    numbered = tuple(Numbered(seq, record) for seq, record in sorted(records.items()))
    return Delivery(device, skimmed(Batch(boot, "0a0b0c0d", numbered, created), device=device), 1.0)


def test_a_record_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery({0: event(0), 1: event(1)})])
        store.commit([delivery({1: event(1), 2: event(2)}), delivery({0: event(0)})])
        assert [(where.seq, record.value) for where, record in store.events()] == [(0, 0), (1, 1), (2, 2)]
        assert store.counters() == {"frames": 3, "records": 3, "duplicates": 2, "quarantined": 0}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(strategies.records, min_size=1, max_size=8))
def test_every_kind_of_record_comes_back_unchanged(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "c.db").unlink(missing_ok=True)
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery(dict(enumerate(records)))])
        found = [*store.windows(), *store.decisions(), *store.events(), *store.samples()]
        found += [(stored, stored.record) for stored in store.records(Tombstone)]
        assert {where.seq: record for where, record in found} == dict(enumerate(records))
        lines = [json.loads(line) for line in store.export_jsonl()]
        assert [line["seq"] for line in lines] == list(range(len(records)))
        assert [record_from_dict(line["record"]) for line in lines] == records


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), total=st.integers(1, 40))
def test_the_ledger_balances_exactly_when_every_number_is_stored_or_buried(
    tmp_path: Path, data: st.DataObject, total: int
) -> None:
    """Against a model: each number is stored, buried, both, or still on its way."""
    (tmp_path / "c.db").unlink(missing_ok=True)
    stored = data.draw(st.sets(st.integers(0, total - 1)))
    ranges = [
        (min(pair), max(pair))
        for pair in data.draw(st.lists(st.tuples(st.integers(0, total - 1), st.integers(0, total - 1)), max_size=4))
    ]
    buried = {seq for first, last in ranges for seq in range(first, last + 1)}
    later = BOOT + 1
    with Store(tmp_path / "c.db") as store:
        if stored:
            store.commit([delivery({seq: event(seq) for seq in stored}, created=total)])
        else:
            store.commit([Announcement("d", None, {"state": "stopped", "boot": BOOT, "created": total}, 1.0)])
        if ranges:
            stones: dict[int, Record] = {i: tombstone(first, last) for i, (first, last) in enumerate(ranges)}
            store.commit([delivery(stones, boot=later)])
        entry = next(entry for entry in store.ledger() if entry.boot == BOOT)
        assert entry.sent == total
        assert entry.stored == len(stored)
        assert sum(entry.lost.values()) == len(buried - stored)
        assert entry.missing == total - len(stored | buried)
        assert entry.balanced is (stored | buried == set(range(total)))


def test_what_is_still_on_its_way_is_known_from_the_batch_that_is_here(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery({5: event(5)}, created=10)])
        (entry,) = store.ledger()
        assert (entry.sent, entry.stored, entry.missing, entry.balanced) == (10, 1, 9, False)


def test_a_tombstone_about_a_boot_never_heard_of_opens_its_account(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery({0: tombstone(0, 4, boot=BOOT - 1)})])
        assert [(e.boot, e.sent, e.stored, dict(e.lost), e.balanced) for e in store.ledger()] == [
            (BOOT - 1, 5, 0, {"spool_full": 5}, True),
            (BOOT, 1, 1, {}, True),
        ]


def test_devices_are_told_apart(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery({0: event(0)}, device="a"), delivery({0: event(1)}, device="b")])
        assert [record.value for _, record in store.events(device="b")] == [1]
        assert [entry.device for entry in store.ledger()] == ["a", "b"]


def test_what_a_device_says_of_itself_is_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([Announcement("d", {"bundle": "0a0b0c0d"}, None, 1.0)])
        store.commit([Announcement("d", None, {"state": "offline"}, 2.0)])
        store.commit([Announcement("d", None, {"state": "stopped", "boot": -1, "created": "many"}, 3.0)])
        (device,) = store.devices()
        assert (device.state, device.birth, device.first_s, device.last_s) == ("stopped", {"bundle": "0a0b0c0d"}, 1, 3)
        assert store.ledger() == []


def test_a_farewell_with_nothing_pending_is_no_debt_of_a_store_made_since(tmp_path: Path) -> None:
    farewell = {"state": "stopped", "boot": BOOT, "created": 9, "pending": 0}  # retained, so any collector hears it
    with Store(tmp_path / "c.db") as store:
        store.commit([Announcement("d", None, farewell, 1.0)])
        assert store.ledger() == []
        store.commit([Announcement("d", None, farewell | {"pending": 3}, 2.0)])
        assert [entry.missing for entry in store.ledger()] == [9]
    with Store(tmp_path / "known.db") as store:
        store.commit([delivery({0: event(0)}), Announcement("d", None, farewell, 1.0)])
        assert [entry.missing for entry in store.ledger()] == [8]


def test_a_last_word_on_a_full_disk_gives_what_is_gone_a_reason(tmp_path: Path) -> None:
    farewell = {"state": "stopped", "boot": BOOT, "created": 9, "pending": 6, "lost": [[0, 3], [6, 7]]}
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery({3: event(3), 4: event(4)}), Announcement("d", None, farewell, 1.0)])
        (entry,) = store.ledger()
        assert (entry.sent, entry.stored, entry.lost) == (9, 2, {"disk_full": 5})  # 3 came, its ack did not
        assert entry.missing == 2  # 5 and 8 are in the device's spool


@pytest.mark.parametrize("lost", [3, "0-3", [3], [[3]], [[4, 3]], [[0, 9]], [[-1, 3]], [[0.5, 3]], [[True, 3]], [None]])
def test_a_last_word_that_makes_no_sense_loses_nothing(tmp_path: Path, lost: object) -> None:
    farewell = {"state": "stopped", "boot": BOOT, "created": 9, "pending": 9, "lost": lost}
    with Store(tmp_path / "c.db") as store:
        store.commit([Announcement("d", None, farewell, 1.0)])
        assert [(entry.sent, entry.lost) for entry in store.ledger()] == [(9, {})]


def test_half_a_character_in_a_state_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([Announcement("d", None, json.loads('{"state": "on\\ud800"}'), 1.0)])
        assert [device.state for device in store.devices()] == ["on?"]


def test_the_largest_number_there_is_can_be_stored(tmp_path: Path) -> None:
    largest = (1 << 63) - 1
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery({largest: event(0)}), delivery({0: tombstone(0, largest, boot=5)}, boot=6)])
        assert len(store.events()) == 1


def test_the_quarantine_is_bounded(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([Rejected("t" * 999, f"{n}", b"x" * 9999, 0.0) for n in range(QUARANTINE_ROWS + 50)])
        kept = store.quarantine()
        assert len(kept) == QUARANTINE_ROWS
        assert kept[0][1] == "50"
        assert all(len(topic) == 200 and len(payload) == 4096 for topic, _, payload in kept)
        assert store.counters()["quarantined"] == QUARANTINE_ROWS + 50


def test_a_commit_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        fine = delivery({0: event(0)})
        broken = replace(fine, frame=fine.frame._replace(boot=1 << 70))  # no database holds that, nor does the codec
        with pytest.raises((OverflowError, sqlite3.Error)):
            store.commit([delivery({1: event(1)}), broken])
        assert store.events() == []
        store.commit([delivery({1: event(1)})])
        assert len(store.events()) == 1


def test_many_records_are_read_page_by_page(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit(
            [delivery({seq: event(seq) for seq in range(start, start + 500)}) for start in range(0, 2500, 500)]
        )
        assert [record.value for _, record in store.events()] == list(range(2500))


def test_a_reader_may_open_the_file_beside_the_collector(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as writer, Store(tmp_path / "c.db") as reader:
        writer.commit([delivery({0: event(0)})])
        assert len(reader.events()) == 1


@pytest.mark.parametrize("kind", [Window, Decision, EventRecord, Sample])
def test_an_empty_store_has_nothing_of_any_kind(tmp_path: Path, kind: type[Record]) -> None:
    with Store(tmp_path / "c.db") as store:
        assert list(store.records(kind)) == []


def test_a_spool_is_no_store(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool.db") as spool:
        spool.append(event(0))
    before = (tmp_path / "spool.db").read_bytes()
    with pytest.raises(IntegrityError, match="something else"):
        Store(tmp_path / "spool.db")
    assert (tmp_path / "spool.db").read_bytes() == before


def test_files_that_are_no_store_are_named(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    with pytest.raises(IntegrityError, match="damaged"):
        Store(tmp_path / "junk")
    with pytest.raises(InputError, match="cannot be opened"):
        Store(tmp_path / "junk" / "c.db")
