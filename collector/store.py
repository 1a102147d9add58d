"""Every record once, for ever: SQLite keyed by (device, boot, seq), and the ledger of what was sent, stored and lost.

Commits are full-sync, so what was acknowledged after one survives SIGKILL and a power cut. Records are kept as JSON,
open to any SQL tool (``json_extract(body, '$.latency_p95_us')``). One store may be used by several threads; it
serialises them.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, cast

from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.contracts.records import (
    Batch,
    Decision,
    EventRecord,
    Record,
    Sample,
    Tombstone,
    Window,
    record_from_dict,
    record_to_dict,
)

R = TypeVar("R", bound=Record)

QUARANTINE_ROWS = 1000
QUARANTINE_BYTES = 4096
_LARGEST = (1 << 63) - 1
_APPLICATION = 0x746D7374  # "tmst": tells our files from others of SQLite
_SCHEMA = """
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


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch that came in from a device."""

    device: str
    batch: Batch
    received_s: float


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a device, or its last will, said of itself: a birth or a state."""

    device: str
    birth: Mapping[str, Any] | None
    state: Mapping[str, Any] | None
    received_s: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be understood."""

    topic: str
    reason: str
    payload: bytes
    received_s: float


Arrival = Delivery | Announcement | Rejected


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record and where it comes from. ``received_s``: wall-clock time of its first arrival, Unix seconds."""

    device: str
    boot: int
    seq: int
    received_s: float
    record: Record


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was heard of. ``state``: online, offline (its last will) or stopped; empty when it never said."""

    device: str
    state: str
    birth: Mapping[str, Any]
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """The balance of one boot of one device.

    ``sent`` counts the records the device is known to have numbered, ``stored`` those here, ``lost`` those it says it
    dropped, by reason. What is neither is still on its way, and the ledger is not ``balanced``.
    """

    device: str
    boot: int
    sent: int
    stored: int
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Records neither stored nor reported lost."""
        return self.sent - self.stored - sum(self.lost.values())

    @property
    def balanced(self) -> bool:
        """Whether sent = stored + lost."""
        return self.missing == 0


class Store:
    """See the module's description. InputError: the file cannot be used. IntegrityError: it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db = _open(path)

    def commit(self, arrivals: Sequence[Arrival]) -> None:
        """Store what came in, in one durable transaction. Repeats change nothing."""
        with self._lock, self._transaction():
            for arrival in arrivals:
                if isinstance(arrival, Delivery):
                    self._deliver(arrival)
                elif isinstance(arrival, Announcement):
                    self._announce(arrival)
                else:
                    self._reject(arrival)

    def ledger(self) -> list[DeviceLedger]:
        """The balance of every boot of every device, in that order."""
        with self._lock:
            boots = self._db.execute("SELECT device, boot, created FROM boots ORDER BY device, boot").fetchall()
            return [self._balance(*row) for row in boots]

    def records(self, kind: type[R], *, device: str | None = None) -> Iterator[StoredRecord]:
        """Stored records of one kind in order of device, boot and number."""
        yield from self._read("kind = ?", kind.KIND, device)

    def windows(self, *, device: str | None = None) -> list[tuple[StoredRecord, Window]]:
        """Stored windows, each beside where it comes from."""
        return self._typed(Window, device)

    def decisions(self, *, device: str | None = None) -> list[tuple[StoredRecord, Decision]]:
        """Stored decisions."""
        return self._typed(Decision, device)

    def events(self, *, device: str | None = None) -> list[tuple[StoredRecord, EventRecord]]:
        """Stored events."""
        return self._typed(EventRecord, device)

    def samples(self, *, device: str | None = None) -> list[tuple[StoredRecord, Sample]]:
        """Stored single inferences."""
        return self._typed(Sample, device)

    def devices(self) -> list[Device]:
        """Every device heard of, by name."""
        with self._lock:
            query = "SELECT device, state, birth, first_s, last_s FROM devices ORDER BY device"
            rows = self._db.execute(query).fetchall()
        return [Device(device, state, json.loads(birth), first, last) for device, state, birth, first, last in rows]

    def counters(self) -> dict[str, int]:
        """``frames``, ``records``, ``duplicates`` and ``quarantined`` since the store was made."""
        with self._lock:
            found = dict(self._db.execute("SELECT name, count FROM counters").fetchall())
        return {name: found.get(name, 0) for name in ("frames", "records", "duplicates", "quarantined")}

    def quarantine(self) -> list[tuple[str, str, bytes]]:
        """The latest messages that could not be understood: topic, reason, the first bytes."""
        with self._lock:
            return self._db.execute("SELECT topic, reason, payload FROM quarantine ORDER BY id").fetchall()

    def export_jsonl(self) -> Iterator[str]:
        """Every record as a line of JSON, in order of device, boot and number."""
        for stored in self._read("1 = 1", None, None):
            place = {"device": stored.device, "boot": stored.boot, "seq": stored.seq, "received_s": stored.received_s}
            yield json.dumps({**place, "record": record_to_dict(stored.record)}, separators=(",", ":"))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _deliver(self, delivery: Delivery) -> None:
        device, batch = delivery.device, delivery.batch
        self._know(device, delivery.received_s)
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    device,
                    batch.boot,
                    numbered.seq,
                    numbered.record.KIND,
                    numbered.record.t_ms,
                    delivery.received_s,
                    json.dumps(dump(numbered.record), separators=(",", ":")),
                )
                for numbered in batch.records
            ],
        )
        fresh = self._db.total_changes - before
        created = max(batch.created, batch.records[-1].seq + 1)
        self._numbered(device, batch.boot, created, batch.bundle, delivery.received_s)
        for stone in (numbered.record for numbered in batch.records):
            if isinstance(stone, Tombstone):
                self._db.execute(
                    "INSERT OR IGNORE INTO losses VALUES (?, ?, ?, ?, ?)",
                    (device, stone.boot, stone.first_seq, stone.last_seq, stone.reason.value),
                )
                self._numbered(device, stone.boot, stone.last_seq + 1, "", delivery.received_s)
        self._count("frames", 1)
        self._count("records", fresh)
        self._count("duplicates", len(batch.records) - fresh)

    def _announce(self, announcement: Announcement) -> None:
        device = announcement.device
        self._know(device, announcement.received_s)
        if announcement.birth is not None:
            self._db.execute("UPDATE devices SET birth = ? WHERE device = ?", (json.dumps(announcement.birth), device))
        if announcement.state is not None:
            said = announcement.state
            state = str(said.get("state", ""))[:16].encode(errors="replace").decode()  # JSON may hold half a character
            self._db.execute("UPDATE devices SET state = ? WHERE device = ?", (state, device))
            boot, created = said.get("boot"), said.get("created")
            # A retained farewell of long ago, all of it acked, is no debt of a store that was made since.
            if _is_count(boot) and _is_count(created) and (said.get("pending") != 0 or self._has_account(device, boot)):
                self._numbered(device, boot, created, "", announcement.received_s)

    def _reject(self, rejected: Rejected) -> None:
        self._db.execute(
            "INSERT INTO quarantine (received_s, topic, reason, payload) VALUES (?, ?, ?, ?)",
            (rejected.received_s, rejected.topic[:200], rejected.reason[:200], rejected.payload[:QUARANTINE_BYTES]),
        )
        self._db.execute("DELETE FROM quarantine WHERE id <= (SELECT MAX(id) FROM quarantine) - ?", (QUARANTINE_ROWS,))
        self._count("quarantined", 1)

    def _know(self, device: str, now_s: float) -> None:
        self._db.execute(
            "INSERT INTO devices VALUES (?, '', '{}', ?, ?) ON CONFLICT DO UPDATE SET last_s = excluded.last_s",
            (device, now_s, now_s),
        )

    def _has_account(self, device: str, boot: int) -> bool:
        query = "SELECT 1 FROM boots WHERE device = ? AND boot = ?"
        return self._db.execute(query, (device, boot)).fetchone() is not None

    def _numbered(self, device: str, boot: int, created: int, bundle: str, now_s: float) -> None:
        """The device has numbered at least ``created`` records in that boot."""
        created = min(created, _LARGEST)  # one more than the largest number there is has no place in the file
        self._db.execute(
            "INSERT INTO boots VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET created = MAX(created, excluded.created),"
            " bundle = CASE WHEN bundle = '' THEN excluded.bundle ELSE bundle END",
            (device, boot, created, bundle, now_s),
        )

    def _count(self, name: str, amount: int) -> None:
        self._db.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (name, amount),
        )

    def _balance(self, device: str, boot: int, created: int) -> DeviceLedger:
        def stored(first: int, last: int) -> int:
            query = "SELECT COUNT(*) FROM records WHERE device = ? AND boot = ? AND seq BETWEEN ? AND ?"
            return int(self._db.execute(query, (device, boot, first, last)).fetchone()[0])

        losses = self._db.execute(
            "SELECT first_seq, last_seq, reason FROM losses WHERE device = ? AND boot = ? ORDER BY first_seq, last_seq",
            (device, boot),
        ).fetchall()
        lost: dict[str, int] = {}
        counted = 0  # up to here, so that ranges that overlap count once
        for first, last, reason in losses:
            start = max(first, counted)
            if start <= last:
                # A record that was dropped after it had been sent is stored all the same: not lost.
                lost[reason] = lost.get(reason, 0) + last - start + 1 - stored(start, last)
                counted = last + 1
        return DeviceLedger(device, boot, created, stored(0, _LARGEST), {r: n for r, n in lost.items() if n})

    def _read(self, condition: str, value: str | None, device: str | None) -> Iterator[StoredRecord]:
        values = [text for text in (value, device) if text is not None]
        query = (
            "SELECT device, boot, seq, kind, received_s, body FROM records"  # noqa: S608 - both parts are literals
            f" WHERE {condition}{' AND device = ?' if device is not None else ''} AND (device, boot, seq) > (?, ?, ?)"
            " ORDER BY device, boot, seq LIMIT 1000"
        )
        place: tuple[str, int, int] = ("", -1, -1)
        while True:  # page by page, so that the lock is never held while a reader works
            with self._lock:
                rows = self._db.execute(query, (*values, *place)).fetchall()
            if not rows:
                return
            for name, boot, seq, kind, received_s, body in rows:
                place = (name, boot, seq)
                record = record_from_dict({"kind": kind, **json.loads(body)}, path=f"{name}/{boot}/{seq}")
                yield StoredRecord(name, boot, seq, received_s, record)

    def _typed(self, kind: type[R], device: str | None) -> list[tuple[StoredRecord, R]]:
        return [(stored, cast(R, stored.record)) for stored in self.records(kind, device=device)]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing is in the file yet. Raises sqlite3.DatabaseError when something of somebody else's is."""
    if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None:
        return True
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise sqlite3.DatabaseError("it is a database of something else")
    return False


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        empty = _is_empty(db)  # before anything is changed
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if empty:
            db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION}; {_SCHEMA} COMMIT;")
    except (OSError, sqlite3.OperationalError) as exc:
        raise InputError(f"the store {path} cannot be opened: {exc}", hint="check folder, rights and disk") from exc
    except sqlite3.DatabaseError as exc:
        raise IntegrityError(f"the store {path} is damaged: {exc}", hint="move it away to start anew") from exc
    return db
