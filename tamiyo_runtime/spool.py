"""The device's queue of records on disk: what `append` committed survives SIGKILL and a power cut.

SQLite with a write-ahead log and full sync, one transaction a group of records (by count or time), so that flash wear
stays near the size of the data. A record leaves on an `Ack` only, which the collector sends after its own commit. The
queue is bounded in bytes; what does not fit is dropped, least important and oldest first, and every drop leaves a
`Tombstone` that is itself delivered, so that created = acked + dropped + pending always holds. While the disk is full,
records are held in memory and dropped in the same way when they get too many.

Numbers: every opening is a boot. Its number is ``counter << 32 | random``, committed before the first record: the
counter grows from boot to boot of a file, and the random part is drawn for each, so that a disk that was wiped,
copied or put back to an earlier day never reuses a number. ``seq`` counts from 0 in each boot, without gaps.

Threads: a spool belongs to the thread that opened it. Processes: the file is locked; a second opening raises
InputError.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import cast

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import InputError, TamiyoError
from tamiyo_runtime.contracts.records import Ack, LossReason, Priority, Record, Tombstone
from tamiyo_runtime.contracts.rows import CODE_OF_KIND
from tamiyo_runtime.meters import Clock, MonotonicClock
from tamiyo_runtime.spool_file import FlashMeter, open_spool
from tamiyo_runtime.tombstones import merged

ROW_BYTES = 24
"""What a row takes beside its body: key, header and its share of page overhead (measured 18..26 B)."""

_RANDOM_BITS = 32
_HELD_RECORDS = 4096  # what a full disk may make us hold in memory
_RETRY_S = 1.0  # how long a full disk is left alone
_LOW_WATER = 0.9  # after a drop this share of the bound is in use, so that drops come in runs


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names a record in the order of sending."""

    priority: Priority
    boot: int
    seq: int


@dataclass(frozen=True, slots=True)
class Spooled:
    """A committed record. ``size_bytes``: of its encoding alone, an upper bound of what it adds to a frame."""

    key: Key
    record: Record
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Accounts:
    """What became of the records of one boot, or of all. ``created == acked + pending + sum(dropped.values())``."""

    created: int
    acked: int
    pending: int
    dropped: Mapping[LossReason, int]


def boot_name(boot: int) -> str:
    """A boot number for people: ``counter.random``."""
    return f"{boot >> _RANDOM_BITS}.{boot & (1 << _RANDOM_BITS) - 1:08x}"


class Spool:
    """See the module's description. ``limit_bytes`` bounds bodies plus `ROW_BYTES` a record.

    Tombstones are only ever merged, so a bound of a few records may be exceeded by them. A group is committed when it
    holds ``group_records`` or is ``group_s`` old on ``clock``, at once for an alarm, and by `commit`.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int = 64 << 20,
        group_records: int = 20,
        group_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._group_records = group_records
        self._group_s = group_s
        self._clock = clock or MonotonicClock()
        self._group: list[tuple[int, int, int, bytes]] = []
        self._group_bytes = 0
        self._group_since_s = 0.0
        self._tombstone: tuple[int, Tombstone] | None = None  # the last one, while it may still grow
        self.commits = 0
        """Grows whenever `pending` may hold more."""
        self.trouble: str | None = None
        """Why the last group is not on disk yet, None when all is well."""
        self.drops = 0
        """Grows whenever `pending` may have given out something that is no longer here."""
        self._bytes = self._next_seq = 0
        self._flash = FlashMeter()
        self._since_ms = int(self._clock.now_s() * 1000)
        self.flash_bytes = 0
        """What this boot's writes have cost in flash so far, as the kernel counts them; 0 where it doesn't."""
        self._retry_s = 0.0
        self._shed_records = 0  # given up while the disk was full, to be noted once it is not
        self._db = open_spool(path)
        self.boot = self._begin_boot()
        self._bytes = self._one("SELECT COALESCE(SUM(LENGTH(body) + ?), 0) FROM records", ROW_BYTES)

    def append(self, record: Record) -> int:
        """Number the record and take it into the current group; returns its number.

        Raises SchemaError for a record that no frame can carry.
        """
        body = wire.encode_record(record, self.boot)
        if not self._group:
            self._group_since_s = self._clock.now_s()
        seq = self._next_seq
        self._next_seq += 1
        self._group.append((record.PRIORITY, self.boot, seq, body))
        self._group_bytes += len(body) + ROW_BYTES
        if len(self._group) >= self._group_records or record.PRIORITY is Priority.ALARM:
            self._try_commit()
        return seq

    def tick(self, *, at_once: bool = False) -> None:
        """Commit the group when it is old enough, or ``at_once``. A full disk is waited out: see `trouble`."""
        if self._group and (at_once or self._clock.now_s() - self._group_since_s >= self._group_s):
            self._try_commit()

    def _try_commit(self) -> None:
        """Commit, or hold the group in memory while the disk is full. The runtime goes on whatever the disk does."""
        if self.trouble is not None and self._clock.now_s() < self._retry_s:
            self._shed()
            return
        try:
            self.commit()
        except sqlite3.OperationalError as exc:
            self.trouble = str(exc)
            self._group_since_s = self._clock.now_s()
            self._retry_s = self._group_since_s + _RETRY_S
            self._shed()

    def _shed(self) -> None:
        """When memory holds its share too, give up of it what matters least, oldest first, and account for that."""
        if len(self._group) < _HELD_RECORDS:
            return
        is_stone = CODE_OF_KIND[Tombstone.KIND]
        held = [
            (seq, cast(Tombstone, wire.decode_record(b, boot))) for _, boot, seq, b in self._group if b[1] == is_stone
        ]
        rows = sorted((-priority, seq) for priority, _, seq, body in self._group if body[1] != is_stone)
        victims = sorted(seq for _, seq in rows[: _HELD_RECORDS // 4])
        gone = {*victims, *(seq for seq, _ in held)}
        self._group = [row for row in self._group if row[2] not in gone]
        self._group_bytes = sum(len(row[3]) + ROW_BYTES for row in self._group)
        self._shed_records += len(gone)
        self._tombstone = None
        now_ms = int(self._clock.now_s() * 1000)
        for loss in merged(
            [(self.boot, seq, stone) for seq, stone in held], dropped=[(self.boot, seq) for seq in victims]
        ):
            self._next_seq += 1
            self._bury_as(self._next_seq - 1, loss.tombstone(now_ms))
        self._tombstone = None  # it is held, and the next to be buried must not look for it on the disk

    def commit(self) -> None:
        """Make everything appended so far durable, dropping what the bound does not allow.

        Raises sqlite3.OperationalError when the disk is full; nothing is lost, call again.
        """
        if not self._group:
            return
        with self._transaction():
            if self._bytes + self._group_bytes > self._limit_bytes:
                self._insert()
                self._make_room()
            self._insert()
        self.commits += 1
        self.trouble = None

    def pending(self, priority: Priority, *, after: Key | None = None, limit: int = 512) -> list[Spooled]:
        """Committed records of one priority, oldest boot and lowest number first, beginning behind ``after``."""
        boot, seq = (after.boot, after.seq) if after else (-1, -1)
        rows = self._db.execute(
            "SELECT boot, seq, body FROM records WHERE priority = ? AND (boot, seq) > (?, ?)"
            " ORDER BY boot, seq LIMIT ?",
            (priority, boot, seq, limit),
        ).fetchall()
        if priority is Priority.ALARM and rows:
            self._tombstone = None  # it may have been handed out: from now on it must stay as it is
        return [
            Spooled(Key(priority, boot, seq), wire.decode_record(body, boot), len(body)) for boot, seq, body in rows
        ]

    def acked(self, ack: Ack) -> int:
        """Forget what the collector stored; returns how many records that were. Repeats are harmless.

        Raises sqlite3.OperationalError when the disk is too full to note it; nothing is forgotten then.
        """
        gone = 0
        with self._transaction():
            for first, last in ack.ranges:
                for priority in Priority:
                    gone += self._delete(priority, ack.boot, first, last)
            self._db.execute("UPDATE boots SET acked = acked + ? WHERE boot = ?", (gone, ack.boot))
        return gone

    def drop(self, keys: Iterable[Key], reason: LossReason) -> None:
        """Give up on these records and say so with tombstones. Raises sqlite3.OperationalError on a full disk."""
        with self._transaction():
            self._insert()
            self._drop(sorted(keys), reason)
            self._insert()
        self.commits += 1

    def created(self, boot: int) -> int:
        """How many records were numbered and committed in that boot."""
        return int(self._one("SELECT COALESCE(MAX(created), 0) FROM boots WHERE boot = ?", boot))

    def accounts(self, boot: int | None = None) -> Accounts:
        """The committed records of one boot, or of all boots."""
        where, values = ("WHERE boot = ?", (boot,)) if boot is not None else ("", ())
        # `where` is one of the two literals above
        drops = f"SELECT reason, SUM(count) FROM drops {where} GROUP BY reason"  # noqa: S608
        return Accounts(
            created=self._one(f"SELECT COALESCE(SUM(created), 0) FROM boots {where}", *values),  # noqa: S608
            acked=self._one(f"SELECT COALESCE(SUM(acked), 0) FROM boots {where}", *values),  # noqa: S608
            pending=self._one(f"SELECT COUNT(*) FROM records {where}", *values),  # noqa: S608
            dropped={LossReason(reason): count for reason, count in self._db.execute(drops, values)},
        )

    @property
    def pending_bytes(self) -> int:
        """Bytes in use of the bound."""
        return self._bytes + self._group_bytes

    def close(self) -> None:
        """Commit and close; further use raises sqlite3.ProgrammingError.

        Raises TamiyoError when the disk is full to the end: the last group is lost then.
        """
        try:
            self.commit()
        except sqlite3.OperationalError as exc:
            raise TamiyoError(
                f"the spool {self.path} cannot be written, its last {len(self._group)} records are lost: {exc}",
                hint="free some space on its disk",
            ) from exc
        finally:
            self._db.close()
            self._flash.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _begin_boot(self) -> int:
        try:
            return self._numbered_boot()
        except sqlite3.OperationalError as exc:
            self._db.close()
            self._flash.close()
            raise InputError(
                f"the spool {self.path} cannot be written: {exc}", hint="free some space on its disk"
            ) from exc

    def _numbered_boot(self) -> int:
        with self._transaction():
            counter = (self._one("SELECT COALESCE(MAX(boot), 0) FROM boots") >> _RANDOM_BITS) + 1
            boot = counter << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            self._db.execute(
                "INSERT INTO boots (boot, created, acked, since_ms, until_ms) VALUES (?, 0, 0, ?, ?)",
                (boot, self._since_ms, self._since_ms),
            )
        return boot

    def _insert(self) -> None:
        self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", self._group)
        self._db.execute(
            "UPDATE boots SET created = ?, written = ?, until_ms = ? WHERE boot = ?",
            (self._next_seq, self.flash_bytes, int(self._clock.now_s() * 1000), self.boot),
        )
        if self._shed_records:
            self._count_drops(self.boot, LossReason.SPOOL_FULL, self._shed_records)
            self._shed_records = 0
        self._bytes += self._group_bytes
        self._group.clear()
        self._group_bytes = 0

    def _make_room(self) -> None:
        goal = int(self._limit_bytes * _LOW_WATER)
        for priority in sorted(Priority, reverse=True):
            rows = self._db.execute(
                "SELECT boot, seq, LENGTH(body) FROM records WHERE priority = ? AND SUBSTR(body, 2, 1) != ?"
                " ORDER BY boot, seq",
                (priority, bytes([CODE_OF_KIND[Tombstone.KIND]])),
            )
            keys, excess = [], self._bytes + self._group_bytes - goal
            for boot, seq, size in rows:
                if excess <= 0:
                    break
                excess -= size + ROW_BYTES
                keys.append(Key(priority, boot, seq))
            rows.close()
            self._drop(keys, LossReason.SPOOL_FULL)
            if priority is not max(Priority):  # dropping what filled the gaps between earlier losses joins them
                self._merge_tombstones()
            if self._bytes + self._group_bytes <= self._limit_bytes:
                return

    def _drop(self, keys: Sequence[Key], reason: LossReason) -> None:
        for (priority, boot, _), run in groupby(
            enumerate(keys), lambda item: (item[1].priority, item[1].boot, item[1].seq - item[0])
        ):
            numbers = [key.seq for _, key in run]
            gone = self._delete(priority, boot, numbers[0], numbers[-1])
            self.drops += 1
            if gone:  # a record acked in the meantime is not lost
                self._bury(boot, numbers[0], numbers[-1], reason)
                self._count_drops(boot, reason, gone)

    def _count_drops(self, boot: int, reason: LossReason, count: int) -> None:
        self._db.execute(
            "INSERT INTO drops VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (boot, reason, count),
        )

    def _bury(self, boot: int, first: int, last: int, reason: LossReason) -> None:
        """Leave a tombstone, or let the last one grow when it ends just before and has not been sent."""
        if self._tombstone:
            seq, stone = self._tombstone
            if (stone.boot, stone.reason, stone.last_seq + 1) == (boot, reason, first):
                stone = Tombstone(t_ms=stone.t_ms, boot=boot, first_seq=stone.first_seq, last_seq=last, reason=reason)
                if self._group and self._group[-1][2] == seq:  # made in this transaction
                    self._group_bytes -= len(self._group.pop()[3]) + ROW_BYTES
                else:
                    self._delete(Priority.ALARM, self.boot, seq, seq)
                self._bury_as(seq, stone)
                return
        now_ms = int(self._clock.now_s() * 1000)
        stone = Tombstone(t_ms=now_ms, boot=boot, first_seq=first, last_seq=last, reason=reason)
        self._next_seq += 1
        self._bury_as(self._next_seq - 1, stone)

    def _bury_as(self, seq: int, stone: Tombstone) -> None:
        body = wire.encode_record(stone, self.boot)
        self._group.append((stone.PRIORITY, self.boot, seq, body))
        self._group_bytes += len(body) + ROW_BYTES
        self._tombstone = (seq, stone)

    def _merge_tombstones(self) -> None:
        """Replace all tombstones by fewer that say the same, if that at least halves them.

        One that is on its way counts as dropped though it may arrive: the ledger takes what is stored as not lost.
        """
        self._insert()
        which = "priority = ? AND SUBSTR(body, 2, 1) = ?"
        values = (Priority.ALARM, bytes([CODE_OF_KIND[Tombstone.KIND]]))
        rows = self._db.execute(f"SELECT boot, seq, body FROM records WHERE {which}", values).fetchall()  # noqa: S608 - a literal
        stones = [(boot, seq, cast(Tombstone, wire.decode_record(body, boot))) for boot, seq, body in rows]
        losses = merged(stones)
        if 2 * len(losses) > len(stones):
            return
        self._db.execute(f"DELETE FROM records WHERE {which}", values)  # noqa: S608 - a literal
        self._bytes -= sum(len(body) + ROW_BYTES for _, _, body in rows)
        self.drops += 1
        for boot, count in Counter(boot for boot, _, _ in rows).items():
            self._count_drops(boot, LossReason.SPOOL_FULL, count)
        self._tombstone = None
        for loss in losses:
            self._bury(loss.boot, loss.first_seq, loss.last_seq, loss.reason)

    def _delete(self, priority: Priority, boot: int, first: int, last: int) -> int:
        sizes = self._db.execute(
            "DELETE FROM records WHERE priority = ? AND boot = ? AND seq BETWEEN ? AND ? RETURNING LENGTH(body)",
            (priority, boot, first, last),
        ).fetchall()
        self._bytes -= sum(size for (size,) in sizes) + ROW_BYTES * len(sizes)
        return len(sizes)

    def _one(self, query: str, *values: int) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, in the file and in memory: after a full disk the group is still there to be tried again."""
        before = (
            self._group.copy(),
            self._group_bytes,
            self._bytes,
            self._next_seq,
            self._tombstone,
            self._shed_records,
        )
        written = self._flash.read()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            (
                self._group,
                self._group_bytes,
                self._bytes,
                self._next_seq,
                self._tombstone,
                self._shed_records,
            ) = before
            raise
        finally:
            self.flash_bytes += self._flash.read() - written
