"""The tables of a spool as operations: what is where, how many bytes each class takes, what became of a boot.

Policy is `spool`'s: what to drop, when to commit. Nothing here opens or ends a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from tamiyo_runtime.ages import BootTimes
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.records import LossReason, Priority, Record, Tombstone
from tamiyo_runtime.contracts.rows import CODE_OF_KIND
from tamiyo_runtime.contracts.stamp import TimeQuality
from tamiyo_runtime.spooled import Accounts, Key, Spooled

ROW_BYTES = 24
"""What a row takes beside its body: key, header and its share of page overhead (measured 18..26 B)."""

Row = tuple[Priority, int, int, bytes]
"""Class, boot, number, encoded record."""

_STONE = bytes([CODE_OF_KIND[Tombstone.KIND]])  # the second byte of a tombstone
_LARGEST = (1 << 63) - 1
_ALL_BOOTS = "SELECT boot, created, acked, written, since_ms, until_ms, machine, offset_ms, quality FROM boots"
_ADD_BOOTS = """
INSERT INTO boots (boot, created, acked, written, since_ms, until_ms, machine, offset_ms, quality)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    created = created + excluded.created, acked = acked + excluded.acked, written = excluded.written,
    until_ms = excluded.until_ms, offset_ms = excluded.offset_ms, quality = excluded.quality
"""


class Rows:
    """The records in a database. ``used``: bytes of each class, bodies plus `ROW_BYTES` a record."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.used = dict.fromkeys(Priority, 0)
        sums = db.execute("SELECT priority, SUM(LENGTH(body) + ?) FROM records GROUP BY priority", (ROW_BYTES,))
        for priority, size in sums:
            self.used[Priority(priority)] = size

    def insert(self, rows: Sequence[Row]) -> None:
        """Add records."""
        self.db.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        for priority, _, _, body in rows:
            self.used[priority] += len(body) + ROW_BYTES

    def delete(self, priority: Priority, boot: int, first: int, last: int) -> int:
        """Forget a range of numbers of one class; returns how many there were."""
        sizes = self.db.execute(
            "DELETE FROM records WHERE priority = ? AND boot = ? AND seq BETWEEN ? AND ? RETURNING LENGTH(body)",
            (priority, boot, first, last),
        ).fetchall()
        self.used[priority] -= sum(size for (size,) in sizes) + ROW_BYTES * len(sizes)
        return len(sizes)

    def page(
        self, priority: Priority, after: Key | None, limit: int, *, newest: bool
    ) -> tuple[list[Spooled], list[Key]]:
        """Records of one class in order of boot and number, or the other way round, beginning behind ``after``.

        And the places among them of what is no record: damaged on the disk.
        """
        ends = (_LARGEST, _LARGEST) if newest else (-1, -1)
        where, order = ("<", "boot DESC, seq DESC") if newest else (">", "boot, seq")
        query = (
            f"SELECT boot, seq, body FROM records WHERE priority = ? AND (boot, seq) {where} (?, ?) ORDER BY {order}"  # noqa: S608 - literals
        )
        values = (priority, *((after.boot, after.seq) if after else ends), limit)
        found, damaged = [], []
        for boot, seq, body in self.db.execute(f"{query} LIMIT ?", values):
            key, record = Key(priority, boot, seq), read_record(body, boot)
            if record is None:
                damaged.append(key)
            else:
                found.append(Spooled(key, record, len(body)))
        return found, damaged

    def oldest(self, priority: Priority, limit: int = -1) -> Iterator[tuple[Key, bytes]]:
        """Encoded records of one class in order of boot and number, without tombstones.

        Nothing may be changed before it is exhausted or let go of.
        """
        rows = self.db.execute(
            "SELECT boot, seq, body FROM records WHERE priority = ? AND SUBSTR(body, 2, 1) != ?"
            " ORDER BY boot, seq LIMIT ?",
            (priority, _STONE, limit),
        )
        return ((Key(priority, boot, seq), body) for boot, seq, body in rows)

    def tombstones(self) -> list[tuple[Key, Tombstone]]:
        """Every tombstone, whatever its class."""
        rows = self.db.execute(
            "SELECT priority, boot, seq, body FROM records WHERE priority IN (?, ?) AND SUBSTR(body, 2, 1) = ?",
            (Priority.ALARM, Priority.RAW, _STONE),
        )
        stones = ((Key(Priority(priority), boot, seq), read_record(body, boot)) for priority, boot, seq, body in rows)
        return [(key, stone) for key, stone in stones if isinstance(stone, Tombstone)]

    def count_drops(self, boot: int, reason: LossReason, count: int) -> None:
        """Note that so many records of a boot were lost."""
        self.db.execute(
            "INSERT INTO drops VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (boot, reason, count),
        )

    def begin(self, boot: int, now_ms: int, machine: str) -> None:
        """A boot that has numbered nothing yet."""
        self.db.execute(
            "INSERT INTO boots (boot, created, acked, since_ms, until_ms, machine) VALUES (?, 0, 0, ?, ?, ?)",
            (boot, now_ms, now_ms, machine),
        )

    def forget_boots(self, keep: int) -> int:
        """Forget boots of which nothing waits, but the last ``keep``; returns how many.

        One that is later than a boot of which something waits stays too: its times say how old that is (`ages`).
        """
        before = self.one(
            "SELECT COALESCE(MIN(boot), 0) FROM (SELECT boot FROM boots ORDER BY boot DESC LIMIT ?)", keep
        )
        for priority in Priority:
            before = min(
                before, self.one("SELECT COALESCE(MIN(boot), ?) FROM records WHERE priority = ?", before, priority)
            )
        self.db.execute("DELETE FROM drops WHERE boot < ?", (before,))
        return self.db.execute("DELETE FROM boots WHERE boot < ?", (before,)).rowcount

    def created(self, boot: int) -> int:
        """How many records of a boot were numbered here."""
        return self.one("SELECT COALESCE(MAX(created), 0) FROM boots WHERE boot = ?", boot)

    def take_over(self, other: Rows) -> None:
        """Add all that another database holds; its records are none of ours, its boots may be."""
        self.db.executemany(_ADD_BOOTS, other.db.execute(_ALL_BOOTS))
        for boot, reason, count in other.db.execute("SELECT boot, reason, count FROM drops"):
            self.count_drops(boot, reason, count)
        self.insert(other.db.execute("SELECT priority, boot, seq, body FROM records").fetchall())

    def free_bytes(self) -> int:
        """Bytes of the file that records have left and others can take."""
        return self.one("PRAGMA freelist_count") * self.one("PRAGMA page_size")

    def boots(self) -> list[BootTimes]:
        """Times of all boots, in order."""
        query = "SELECT boot, since_ms, until_ms, machine, offset_ms, quality FROM boots ORDER BY boot"
        return [
            BootTimes(
                boot=boot,
                since_ms=since_ms,
                until_ms=until_ms,
                machine=machine,
                offset_ms=offset_ms,
                quality=TimeQuality(quality),
            )
            for boot, since_ms, until_ms, machine, offset_ms, quality in self.db.execute(query)
        ]

    def accounts(self, boot: int | None) -> Accounts:
        """The balance of one boot, or of all."""
        where, values = ("WHERE boot = ?", (boot,)) if boot is not None else ("", ())
        # `where` is one of the two literals above
        drops = f"SELECT reason, SUM(count) FROM drops {where} GROUP BY reason"  # noqa: S608
        return Accounts(
            created=self.one(f"SELECT COALESCE(SUM(created), 0) FROM boots {where}", *values),  # noqa: S608
            acked=self.one(f"SELECT COALESCE(SUM(acked), 0) FROM boots {where}", *values),  # noqa: S608
            pending=self.one(f"SELECT COUNT(*) FROM records {where}", *values),  # noqa: S608
            dropped={LossReason(reason): count for reason, count in self.db.execute(drops, values)},
        )

    def one(self, query: str, *values: int) -> int:
        """The one number that a query gives."""
        return int(self.db.execute(query, values).fetchone()[0])


def read_record(body: bytes, boot: int) -> Record | None:
    """The record; None where a disk gave back something else. Raises SchemaVersionError for one of a later version."""
    try:
        return wire.decode_record(body, boot)
    except SchemaVersionError:
        raise  # whoever wrote it can read it
    except SchemaError:
        return None
