"""Files of earlier versions are taken over without losing a record; foreign and later ones are refused."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from collector.arrivals import Delivery
from collector.store import Store
from collector.tables import APPLICATION_1
from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, LossReason, Numbered, Record, Sample, Tombstone
from tamiyo_runtime.contracts.skim import skimmed

BOOT = 7 << 16 | 1
# As version 1 made them, word for word.
VERSION_1 = f"""
PRAGMA application_id = {APPLICATION_1};
CREATE TABLE IF NOT EXISTS devices (
    device TEXT PRIMARY KEY, state TEXT NOT NULL, birth TEXT NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boots (
    device TEXT, boot INTEGER, created INTEGER NOT NULL, bundle TEXT NOT NULL, first_s REAL NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    device TEXT, boot INTEGER, seq INTEGER, kind TEXT NOT NULL, t_ms INTEGER NOT NULL, received_s REAL NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (device, boot, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS losses (
    device TEXT, boot INTEGER, first_seq INTEGER, last_seq INTEGER, reason TEXT NOT NULL,
    PRIMARY KEY (device, boot, first_seq, last_seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, received_s REAL NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""


def record(seq: int) -> Record:
    if seq % 4 == 0:
        return EventRecord(t_ms=seq, event=Event.BUDGET, value=seq)
    return Sample(t_ms=seq, configuration="c0", answer=seq, confidence_permille=1, latency_us=2, energy_uj=3)


def delivery(seqs: range) -> Delivery:
    records = tuple(Numbered(seq, record(seq)) for seq in seqs)
    return Delivery("d", skimmed(Batch(BOOT, "0a0b0c0d", records, 40), device="d"), 9.0)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Records 5..9 and 20..29 of 40; the rest is lost or on its way."""
    path = tmp_path / "old.db"
    stone = Tombstone(t_ms=0, boot=BOOT, first_seq=0, last_seq=4, reason=LossReason.SPOOL_FULL)
    kept: dict[int, Record] = {seq: record(seq) for seq in [*range(5, 10), *range(20, 29)]} | {29: stone}
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    db.execute("INSERT INTO devices VALUES ('d', 'online', '{}', 1, 2)")
    db.execute("INSERT INTO boots VALUES ('d', ?, 40, '0a0b0c0d', 1)", (BOOT,))
    for seq, one in kept.items():
        row = ("d", BOOT, seq, one.KIND, one.t_ms, 1.0, json.dumps(dump(one)))
        db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    db.execute("INSERT INTO losses VALUES ('d', ?, 0, 4, 'spool_full')", (BOOT,))
    db.execute("INSERT INTO counters VALUES ('records', 15)")
    db.commit()
    db.close()
    return path


def test_a_file_of_version_1_keeps_records_and_ledger(old: Path) -> None:
    with Store(old) as store:
        (entry,) = store.ledger()
        assert (entry.sent, entry.stored, dict(entry.lost), entry.missing) == (40, 15, {"spool_full": 5}, 20)
        assert [where.seq for where, _ in store.samples()] == [5, 6, 7, 9, 21, 22, 23, 25, 26, 27]
        assert [where.seq for where, _ in store.events()] == [8, 20, 24, 28]


def test_what_a_file_of_version_1_holds_is_not_stored_again(old: Path) -> None:
    with Store(old) as store:
        store.commit([delivery(range(3, 25)), delivery(range(29))])
        assert store.counters()["records"] == 15 + 15
        assert [(where.seq, one) for where, one in store.samples()] == [
            (seq, record(seq)) for seq in range(29) if seq % 4
        ]
        lines = [json.loads(line)["seq"] for line in store.export_jsonl()]
        assert lines == list(range(30))  # what is a row and what is in a frame, in one order
        assert [entry.missing for entry in store.ledger()] == [10]


def test_a_file_is_taken_over_once(old: Path) -> None:
    with Store(old) as first, Store(old) as second:
        assert first.ledger() == second.ledger()
    with Store(old) as store:
        assert [entry.stored for entry in store.ledger()] == [15]


def test_taking_over_that_is_cut_short_leaves_the_file_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.tables._COVER_RECORDS", "INSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(InputError, match="cannot be opened"):
        Store(old)
    monkeypatch.undo()
    with Store(old) as store:
        assert [entry.stored for entry in store.ledger()] == [15]


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="newer than"):
        Store(tmp_path / "c.db")


def test_a_store_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no store"):
        Store(tmp_path / "c.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_takes_nothing_over_and_says_who_does(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(InputError, match="earlier version") as caught:
        Store(old, read_only=True)
    assert "tamiyo collect --store" in (caught.value.hint or "")
    assert old.read_bytes() == before


def test_a_reader_beside_a_collector_sees_what_was_committed_and_cannot_write(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as writer, Store(tmp_path / "c.db", read_only=True) as reader:
        writer.commit([delivery(range(8))])
        assert [entry.stored for entry in reader.ledger()] == [8]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.commit([delivery(range(8, 12))])


def test_a_later_version_is_refused_to_readers_too(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="newer than"):
        Store(tmp_path / "c.db", read_only=True)


def test_a_reader_leaves_the_file_as_it_is_and_no_other_beside_it(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as writer:
        writer.commit([delivery(range(8))])
    before = (tmp_path / "c.db").read_bytes()
    with Store(tmp_path / "c.db", read_only=True) as reader:
        assert [entry.stored for entry in reader.ledger()] == [8]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.commit([delivery(range(8, 12))])
    assert [path.name for path in tmp_path.iterdir()] == ["c.db"]
    assert (tmp_path / "c.db").read_bytes() == before


def test_what_a_collector_changed_while_it_was_read_as_it_lay_is_told(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as writer:
        writer.commit([delivery(range(8))])
    with pytest.raises(InputError, match="began to write"), Store(tmp_path / "c.db", read_only=True) as reader:
        assert [entry.stored for entry in reader.ledger()] == [8]
        with Store(tmp_path / "c.db") as writer:
            writer.commit([delivery(range(8, 12))])
