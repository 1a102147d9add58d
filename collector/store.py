"""Every record once, for ever: SQLite keyed by (device, boot, seq), and the ledger of what was sent, stored and lost.

Commits are full-sync, so what was acknowledged after one survives SIGKILL and a power cut. Windows, decisions, events
and tombstones are rows of JSON, open to any SQL tool (``json_extract(body, '$.latency_p95_us')``). Single samples are
many: they stay the checked columns they came as. One store may be used by several threads; it serialises them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, cast

from collector.arrivals import Announcement, Arrival, Delivery, Rejected
from collector.clocks import Sightings
from collector.deliver import LARGEST, deliver
from collector.ledger import DeviceLedger, read_ledger
from collector.reading import ALL, Fixes, StoredRecord, Wanted, read, read_fixes
from collector.tables import is_open, open_store, read_store, transaction
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.records import (
    Decision,
    EventRecord,
    LossReason,
    Record,
    Sample,
    Tombstone,
    Window,
    record_to_dict,
)
from tamiyo_runtime.transport.topics import LOST, LOST_RANGES

R = TypeVar("R", bound=Record)

QUARANTINE_ROWS = 1000
QUARANTINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was heard of. ``state``: online, offline (its last will) or stopped; empty when it never said."""

    device: str
    state: str
    birth: Mapping[str, Any]
    first_s: float
    last_s: float


class Store:
    """See the module's description. InputError: the file cannot be used. IntegrityError: it is damaged.

    ``read_only``: it must be there, and is left as it is.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._as_it_lay = _age(path) if read_only and not is_open(path) else None
        self._db = read_store(path) if read_only else open_store(path)

    def commit(self, arrivals: Sequence[Arrival]) -> None:
        """Store what came in, in one durable transaction. Repeats change nothing."""
        deliveries: dict[tuple[str, int], list[Delivery]] = {}
        with self._lock, transaction(self._db):
            for arrival in arrivals:
                if isinstance(arrival, Delivery):
                    deliveries.setdefault((arrival.device, arrival.frame.boot), []).append(arrival)
                elif isinstance(arrival, Rejected):
                    self._reject(arrival)
            fresh = sum(self._deliver(device, boot, of_boot) for (device, boot), of_boot in deliveries.items())
            for arrival in arrivals:  # after the deliveries: a farewell counts what is here
                if isinstance(arrival, Announcement):
                    self._announce(arrival)
            came = [arrival.frame.size for arrival in arrivals if isinstance(arrival, Delivery)]
            self._count("frames", len(came))
            self._count("records", fresh)
            self._count("duplicates", sum(came) - fresh)

    def ledger(self) -> list[DeviceLedger]:
        """The balance of every boot of every device, in that order."""
        with self._lock:
            return read_ledger(self._db)

    def records(self, kind: type[R], wanted: Wanted = ALL) -> Iterator[StoredRecord]:
        """Stored records of one kind in order of device, boot and number."""
        yield from read(self._page, kind.KIND, wanted)

    def count(self, kind: type[Record], *, device: str | None = None) -> int:
        """How many records of a kind there are."""
        query = (
            "SELECT (SELECT COUNT(*) FROM records WHERE kind = ?1 AND (?2 IS NULL OR device = ?2))"
            " + (SELECT COALESCE(SUM(count), 0) FROM samples WHERE ?1 = ?3 AND (?2 IS NULL OR device = ?2))"
        )
        return int(self._page(query, (kind.KIND, device, Sample.KIND))[0][0])

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

    def latest_s(self) -> float:
        """When something was last received, Unix seconds; 0 when nothing ever was."""
        with self._lock:
            return float(self._db.execute("SELECT COALESCE(MAX(last_s), 0) FROM devices").fetchone()[0])

    def shift_clocks(self, epoch: int, step_ms: int) -> None:
        """The clock of that epoch was set by so much: move what was measured by it along."""
        with self._lock, transaction(self._db):
            self._db.execute("UPDATE clocks SET least_ms = least_ms + ? WHERE epoch = ?", (step_ms, epoch))

    def fixes(self) -> Fixes:
        """How the clock of each boot of each device stands to the wall clock, where that is known."""
        return read_fixes(self._page)

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
        for stored in read(self._page, None):
            place = {"device": stored.device, "boot": stored.boot, "seq": stored.seq, "received_s": stored.received_s}
            yield json.dumps({**place, "record": record_to_dict(stored.record)}, separators=(",", ":"))

    def close(self) -> None:
        """Close the file. Raises InputError when it was read as it lay, and a collector has written to it meanwhile."""
        with self._lock:
            self._db.close()
        if self._as_it_lay not in (None, _age(self.path)):
            raise InputError(
                f"a collector began to write to {self.path} while it was read",
                hint="do it again: beside a collector that is there from the beginning, a store is read in peace",
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _deliver(self, device: str, boot: int, deliveries: list[Delivery]) -> int:
        """Store what is new of one boot's frames; returns how many records that were."""
        now_s = max(delivery.received_s for delivery in deliveries)
        self._know(device, now_s)
        fresh = deliver(self._db, device, boot, deliveries)
        if any(delivery.frame.stamp is not None for delivery in deliveries):
            self._sight(device, boot, deliveries)
        created = max(max(delivery.frame.created, delivery.frame.spans[-1][1] + 1) for delivery in deliveries)
        self._numbered(device, boot, created, deliveries[0].frame.bundle, now_s)
        for delivery in deliveries:
            for stone in (numbered.record for numbered in delivery.frame.records):
                if isinstance(stone, Tombstone):
                    self._numbered(device, stone.boot, stone.last_seq + 1, "", delivery.received_s)
        return fresh

    def _sight(self, device: str, boot: int, deliveries: list[Delivery]) -> None:
        """Learn what the frames say of the device's clock; repeats are as good as first deliveries."""
        query = "SELECT least_ms, ntp_ms, rtc_ms, epoch FROM clocks WHERE device = ? AND boot = ?"
        row = self._db.execute(query, (device, boot)).fetchone()
        known = sightings = Sightings(*row) if row else Sightings()
        for delivery in deliveries:
            if delivery.frame.stamp is not None:
                received_ms = round(delivery.received_s * 1000)
                sightings = sightings.with_frame(delivery.frame.stamp, received_ms, delivery.epoch)
        if sightings != known:
            values = (device, boot, *astuple(sightings))
            self._db.execute("INSERT OR REPLACE INTO clocks VALUES (?, ?, ?, ?, ?, ?)", values)

    def _announce(self, announcement: Announcement) -> None:
        device = announcement.device
        self._know(device, announcement.received_s)
        if announcement.birth is not None:
            self._db.execute("UPDATE devices SET birth = ? WHERE device = ?", (json.dumps(announcement.birth), device))
        if announcement.state is not None:
            said = announcement.state
            state = str(said.get("state", ""))[:16].encode(errors="replace").decode()  # JSON may hold half a character
            self._db.execute("UPDATE devices SET state = ? WHERE device = ?", (state, device))
            boot, created, lost = said.get("boot"), said.get("created"), said.get(LOST)
            # A retained farewell of long ago, all of it acked, is no debt of a store that was made since.
            if _is_count(boot) and _is_count(created) and (said.get("pending") != 0 or self._has_account(device, boot)):
                self._numbered(device, boot, created, "", announcement.received_s)
                self._lose(device, boot, created, lost)

    def _lose(self, device: str, boot: int, created: int, lost: object) -> None:
        """Note what a device that ends on a full disk says that it takes with it. What is stored is not lost."""
        for span in lost[:LOST_RANGES] if isinstance(lost, list) else ():
            if isinstance(span, list) and len(span) == 2 and all(map(_is_count, span)) and span[0] <= span[1] < created:
                values = (device, boot, *span, LossReason.DISK_FULL.value)
                self._db.execute("INSERT OR IGNORE INTO losses VALUES (?, ?, ?, ?, ?)", values)

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
        created = min(created, LARGEST)  # one more than the largest number there is has no place in the file
        self._db.execute(
            "INSERT INTO boots VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET created = MAX(created, excluded.created),"
            " bundle = CASE WHEN bundle = '' THEN excluded.bundle ELSE bundle END",
            (device, boot, created, bundle, now_s),
        )

    def _count(self, name: str, amount: int) -> None:
        if not amount:
            return
        self._db.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (name, amount),
        )

    def _page(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _typed(self, kind: type[R], device: str | None) -> list[tuple[StoredRecord, R]]:
        return [(stored, cast(R, stored.record)) for stored in self.records(kind, Wanted(device=device))]


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= LARGEST


def _age(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.is_file() else None
