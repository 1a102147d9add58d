"""The device's queue of records on disk: what `append` committed survives SIGKILL and a power cut.

SQLite with a write-ahead log and full sync, one transaction a group of records (by count or time), so that flash wear
stays near the size of the data. A record leaves on an `Ack` only, which the collector sends after its own commit. The
queue is bounded in bytes and in age. What does not fit is dropped, least important and oldest first, and single samples
already when they take more than their share; what is too old goes as far as its age is known (`ages`). Every drop
leaves a `Tombstone` that is itself delivered, so that created = acked + dropped + pending always holds.

While the disk is full the spool is in memory: the same tables, a tighter bound. It can be sent from there, and goes
into the file when there is room again. And it is not to be the one who fills the disk: with less than a stated share
free, the bound is what it has already.

Numbers: every opening is a boot. Its number is ``counter << 32 | random``, committed before the first record: the
counter grows from boot to boot of a file, and the random part is drawn for each, so that a disk that was wiped,
copied or put back to an earlier day never reuses a number. ``seq`` counts from 0 in each boot, without gaps.

Threads: a spool belongs to the thread that opened it. Processes: the file is locked; a second opening raises
InputError.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import takewhile
from pathlib import Path

from tamiyo_runtime import ages
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.records import Ack, LossReason, Priority, Record, Tombstone
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality
from tamiyo_runtime.files import lacks_space
from tamiyo_runtime.meters import Clock, MonotonicClock
from tamiyo_runtime.reserve import SHARE, Reserve, Space, space_of
from tamiyo_runtime.spool_file import FlashMeter
from tamiyo_runtime.spool_group import Group
from tamiyo_runtime.spool_home import Home
from tamiyo_runtime.spool_losses import Losses
from tamiyo_runtime.spool_rows import ROW_BYTES, Rows, read_record
from tamiyo_runtime.spooled import RANDOM_BITS, Accounts, Key, Spooled, boot_name

__all__ = ["ROW_BYTES", "Accounts", "Key", "Spool", "Spooled", "boot_name"]

_MEMORY_BYTES = 2 << 20  # what a full disk may make us hold in memory
_BOOTS = 64  # that are remembered when nothing of them waits: what `tamiyo spool inspect` has to show
_LOW_WATER = 0.9  # after a drop this share of the bound is in use, so that drops come in runs
_RAW_SHARE = 0.5  # of the bound, for single samples
_EXPIRY_S = 60.0  # how often ages are looked at
_EXPIRY_RECORDS = 4096  # of a class at a time


class Spool:
    """See the module's description. ``limit_bytes`` bounds bodies plus `ROW_BYTES` a record.

    ``path`` None: a spool in memory, of a simulated device; ``randbits`` draws the random part of the boot's number.

    Tombstones are only ever merged, so a bound of a few records may be exceeded by them, and they do not age.
    ``memory_bytes``: the bound while the spool is in memory. ``reserve``: share of the disk, 0..1, that is to stay free
    as ``space`` tells, see `Reserve`. ``keep_s``: how old records of a class may get; those of a class that is not
    named do not age. ``machine``: see `ages.BootTimes`. A group is committed when it holds ``group_records`` or is
    ``group_s`` old on ``clock``, at once for an alarm, and by `commit`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limit_bytes: int = 64 << 20,
        memory_bytes: int = _MEMORY_BYTES,
        reserve: float = SHARE,
        space: Callable[[], Space | None] | None = None,
        keep_s: Mapping[Priority, float] | None = None,
        machine: str = "",
        group_records: int = 100,
        group_s: float = 1.0,
        clock: Clock | None = None,
        randbits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._memory_bytes = min(memory_bytes, limit_bytes)
        self._keep_s = dict(keep_s or {})
        self._expiry_s = -math.inf
        self._group_records = group_records
        self._group_s = group_s
        self._clock = clock or MonotonicClock()
        self._reserve = Reserve(reserve, self._clock, space or partial(space_of, path))
        self._group = Group()
        self._losses = Losses(lambda: self._rows, self._group, self._clock)
        self.commits = 0
        """Grows whenever `pending` may hold more."""
        self._flash = FlashMeter()
        self._since_ms = int(self._clock.now_s() * 1000)
        self._machine = machine
        self._offset_ms: int | None = None
        self._quality = TimeQuality.NONE
        self.flash_bytes = 0
        """What this boot's writes have cost in flash so far, as the kernel counts them; 0 where it doesn't."""
        self._home = Home(path)
        self._group.boot = randbits(RANDOM_BITS)
        try:
            self._begin_boot()
        except (TamiyoError, sqlite3.OperationalError) as exc:
            if not lacks_space(exc):
                self._release()
                raise
            self._take_refuge(str(exc.__cause__ or exc))

    @property
    def boot(self) -> int:
        """Number of this boot."""
        return self._group.boot

    @property
    def drops(self) -> int:
        """Grows whenever `pending` may have given out something that is no longer here."""
        return self._losses.drops

    @property
    def trouble(self) -> str | None:
        """Why the spool is in memory and not on the disk, None when all is well."""
        return self._home.trouble

    @property
    def _rows(self) -> Rows:
        return self._home.rows

    def append(self, record: Record) -> int:
        """Number the record and take it into the current group; returns its number.

        Raises SchemaError for a record that no frame can carry.
        """
        body = wire.encode_record(record, self.boot)
        if not self._group.rows:
            self._group.since_s = self._clock.now_s()
        seq = self._group.number()
        self._group.add(record.PRIORITY, seq, body)
        if len(self._group.rows) >= self._group_records or record.PRIORITY is Priority.ALARM:
            self.commit()
        return seq

    def tick(self, *, at_once: bool = False) -> None:
        """Commit the group when it is old enough, or ``at_once``, and now and then drop what is too old.

        A full disk is waited out: see `trouble`.
        """
        now_s = self._clock.now_s()
        if self._group.rows and (at_once or now_s - self._group.since_s >= self._group_s):
            self.commit()
        elif self._home.may_return(now_s):
            self._return()
        if self._keep_s and now_s >= self._expiry_s:
            self._expiry_s = now_s + _EXPIRY_S
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: another time
                self._expire(int(now_s * 1000))

    def _write(self) -> None:
        if not self._group.rows:
            return
        with self._transaction():
            self._insert()
            self._make_room()
            self._insert()
        self.commits += 1

    def _take_refuge(self, why: str) -> None:
        """From now on records go to memory. Those in the file stay there, unsent, until it can be written again."""
        self._home.leave(why, self.boot, self._since_ms, self._machine, self._clock.now_s())
        self._losses.moved()

    def _return(self) -> None:
        """Put what is in memory into the file, if that can be written."""
        with self._home.returning(self._clock.now_s()) as memory, self._transaction():
            self._rows.take_over(memory)
            self._insert()
            self._make_room()
            self._insert()
        if not self._home.in_memory:
            self._losses.moved()
            self.commits += 1

    def commit(self) -> None:
        """Make everything appended so far durable, dropping what the bounds on bytes do not allow.

        While the disk cannot be written it is in memory only, see `trouble`: the runtime goes on whatever a disk does.
        """
        if self._home.may_return(self._clock.now_s()):
            self._return()
        try:
            self._write()
        except sqlite3.OperationalError as exc:
            if self._home.in_memory:
                raise
            self._take_refuge(str(exc))
            self._write()

    def settle(self) -> tuple[tuple[int, int], ...]:
        """The last commit: ranges of this boot's numbers that nobody will hear of, the disk being full to the end.

        Those of records in memory that were not acked, and of what news of drops among them would have told.
        """
        if self._home.in_memory:
            self._return()
        self.commit()
        if not self._home.in_memory:
            return ()
        left = [spooled for priority in Priority for spooled in self._rows.page(priority, None, -1, newest=False)[0]]
        stones = [spooled.record for spooled in left if isinstance(spooled.record, Tombstone)]
        told = (seq for stone in stones for seq in range(stone.first_seq, stone.last_seq + 1))
        return wire.spans([*(spooled.key.seq for spooled in left), *told])

    def due_s(self) -> float:
        """When `tick` will commit the group; infinite while there is none."""
        return self._group.since_s + self._group_s if self._group.rows else math.inf

    def pending(
        self, priority: Priority, *, after: Key | None = None, limit: int = 512, newest: bool = False
    ) -> list[Spooled]:
        """Committed records of one class, oldest boot and lowest number first, beginning behind ``after``.

        ``newest``: the other way round. What the disk has damaged is given up and accounted for.
        """
        found, damaged = self._rows.page(priority, after, limit, newest=newest)
        if damaged:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: another time
                self.drop(damaged, LossReason.DAMAGED)
                return self.pending(priority, after=after, limit=limit, newest=newest)
        if found:
            self._losses.handed_out(priority)
        return found

    def acked(self, ack: Ack) -> int:
        """Forget what the collector stored; returns how many records that were. Repeats are harmless.

        Raises sqlite3.OperationalError when the disk is too full to note it; nothing is forgotten then.
        """
        gone = 0
        with self._transaction():
            for first, last in ack.ranges:
                for priority in Priority:
                    gone += self._rows.delete(priority, ack.boot, first, last)
                self._losses.acked(ack, first, last)
            self._rows.db.execute("UPDATE boots SET acked = acked + ? WHERE boot = ?", (gone, ack.boot))
        return gone

    def drop(self, keys: Iterable[Key], reason: LossReason) -> None:
        """Give up on these records and say so with tombstones. Raises sqlite3.OperationalError on a full disk."""
        with self._transaction():
            self._insert()
            self._losses.drop(keys, reason)
            self._insert()
        self.commits += 1

    def created(self, boot: int) -> int:
        """How many records were numbered and committed in that boot."""
        return self._home.created(boot)

    def accounts(self, boot: int | None = None) -> Accounts:
        """The committed records of one boot, or of all boots."""
        return self._home.accounts(boot)

    @property
    def pending_bytes(self) -> int:
        """Bytes in use of the bound."""
        return sum(self._rows.used.values()) + self._group.size_bytes

    def waiting_bytes(self, *priorities: Priority) -> int:
        """What committed records of these classes take of the bound."""
        return sum(self._rows.used[priority] for priority in priorities)

    def place(self, offset_ms: int | None, quality: TimeQuality) -> None:
        """Note where this boot's clock stands on the wall clock; written with the next commit."""
        self._offset_ms, self._quality = offset_ms, quality

    def stamp(self, boot: int, now_s: float) -> Stamp:
        """What a frame of that boot tells of its clock, at ``now_s`` of the present one."""
        now_ms = int(now_s * 1000)
        if boot == self.boot:
            return Stamp(sent_ms=now_ms, offset_ms=self._offset_ms, quality=self._quality)
        times = next((times for times in self._rows.boots() if times.boot == boot), None)
        if times is None:
            return Stamp()
        runs = bool(self._machine) and times.machine == self._machine  # its clock is the present one
        return Stamp(sent_ms=now_ms if runs else None, offset_ms=times.offset_ms, quality=times.quality)

    def close(self) -> None:
        """Commit and close; further use raises sqlite3.ProgrammingError.

        Raises TamiyoError when the disk cannot be written to the end: what is in memory is lost then.
        """
        try:
            lost = sum(last - first + 1 for first, last in self.settle())
        finally:
            self._release()
        if lost:
            raise TamiyoError(
                f"the spool {self.path} cannot be written, its last {lost} records are lost: {self.trouble}",
                hint="free some space on its disk",
            )

    def abandon(self) -> None:
        """Close without a commit, as a loss of power does: what was not committed is gone."""
        self._release()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _begin_boot(self) -> None:
        """Open the file and number the boot. A full disk may still tell which was the one before."""
        before = self._rows.one("SELECT COALESCE(MAX(boot), 0) FROM boots") >> RANDOM_BITS
        self._group.boot |= before + 1 << RANDOM_BITS
        with self._transaction():
            self._rows.begin(self.boot, self._since_ms, self._machine)
            self._rows.forget_boots(_BOOTS)

    def _release(self) -> None:
        self._home.close()
        self._flash.close()

    def _insert(self) -> None:
        self._rows.insert(self._group.rows)
        created = self._home.created_here(self._group.next_seq)
        now_ms = int(self._clock.now_s() * 1000)
        self._rows.db.execute(
            "UPDATE boots SET created = ?, written = ?, until_ms = ?, offset_ms = ?, quality = ? WHERE boot = ?",
            (created, self.flash_bytes, now_ms, self._offset_ms, self._quality, self.boot),
        )
        self._group.clear()

    def _make_room(self) -> None:
        limit_bytes = self._bound_bytes()
        raw_limit = int(limit_bytes * _RAW_SHARE)
        if (raw_bytes := self._rows.used[Priority.RAW]) > raw_limit:
            self._losses.drop_oldest(Priority.RAW, raw_bytes - int(raw_limit * _LOW_WATER))
        for priority in sorted(Priority, reverse=True):
            if self.pending_bytes <= limit_bytes:
                return
            self._losses.drop_oldest(priority, self.pending_bytes - int(limit_bytes * _LOW_WATER))
            if priority < Priority.METRIC:  # dropping what filled the gaps between earlier losses joins them
                self._insert()
                self._losses.merge()

    def _bound_bytes(self) -> int:
        """The bound on bytes where the spool is now, and as the disk is."""
        if self._home.in_memory:
            return self._memory_bytes
        return self._reserve.bound(self._limit_bytes, self.pending_bytes, self._rows.free_bytes)

    def _expire(self, now_ms: int) -> None:
        """Drop what is older than its class may get. Within boot and class, records are about in order of time."""
        now = ages.BootTimes(
            boot=self.boot,
            since_ms=self._since_ms,
            until_ms=now_ms,
            machine=self._machine,
            offset_ms=self._offset_ms,
            quality=self._quality,
        )
        zeros = ages.zeros_ms(self._rows.boots(), now)

        def too_old(row: tuple[Key, bytes]) -> bool:
            key, body = row
            record = read_record(body, key.boot)
            if record is None:
                return False  # `pending` will find it
            return now_ms - (zeros[key.boot] + record.t_ms) > 1000 * self._keep_s[key.priority]

        heads = (self._rows.oldest(priority, _EXPIRY_RECORDS) for priority in self._keep_s)
        if keys := [key for oldest in heads for key, _ in takewhile(too_old, oldest)]:
            self.drop(keys, LossReason.EXPIRED)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, in the file and in memory: after a full disk the group is still there to be tried again."""
        db, used = self._rows.db, self._rows.used.copy()
        before, last = self._group.before(), self._losses.last
        written = self._flash.read()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._group.restore(before)
            self._losses.last, self._rows.used = last, used
            raise
        finally:
            self.flash_bytes += self._flash.read() - written
