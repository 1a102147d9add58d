"""Looks into a spool without touching it, also while a runtime holds it.

The owner locks the file, so what is read is a copy: of the database and of its write-ahead log, made again until no
checkpoint has come between the two. Nothing but reading is ever done to the spool and its folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError
from tamiyo_runtime.contracts.records import LossReason, Priority, Tombstone, record_to_dict
from tamiyo_runtime.spool import ROW_BYTES, boot_name
from tamiyo_runtime.spool_file import APPLICATION

_TRIES = 20
_PAUSE_S = 0.05
_WAL_HEADER_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Records of one priority class. ``age_s``: how old the oldest is at least, None without any."""

    records: int
    size_bytes: int
    age_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootView:
    """One boot. ``written_bytes`` as `FlashMeter` has it, 0 where it was not counted.

    ``seconds``: from its beginning to its last commit, on the runtime's clock.
    """

    boot: str
    created: int
    acked: int
    pending: int
    dropped: Mapping[LossReason, int]
    written_bytes: int
    seconds: float

    @property
    def flash_bytes_per_day(self) -> float | None:
        """Extrapolated; None when nothing was counted or the boot was too short to tell."""
        if not self.written_bytes or self.seconds < 1.0:
            return None
        return self.written_bytes / self.seconds * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolView:
    """What a spool holds. ``tombstones``: waiting ones, ``buried``: records that these report lost, by reason."""

    path: Path
    file_bytes: int
    waiting: Mapping[Priority, Waiting]
    tombstones: int
    buried: Mapping[LossReason, int]
    boots: tuple[BootView, ...]


class SpoolReader:
    """A copy of a spool as it was at one moment. Use as a context manager.

    Raises InputError for a file that is missing, no spool, or never at rest; IntegrityError for a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> SpoolReader:
        if not self._path.is_file():
            raise InputError(
                f"no spool at {self._path}", hint="they are DEVICE.spool in the state folder of `tamiyo run`"
            )
        with self._stack as stack:
            try:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamiyo-spool-")))
            except OSError as exc:
                raise InputError(
                    f"no room for a copy of {self._path}: {exc.strerror}", hint="set TMPDIR to a folder that has room"
                ) from exc
            copy = folder / "spool"
            self._changed_s = _copy(self._path, copy)
            self._db = stack.enter_context(contextlib.closing(sqlite3.connect(copy)))
            try:
                if self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
                    raise InputError(f"{self._path} is no spool", hint="it is a database of something else")
                columns = {row[1] for row in self._db.execute("PRAGMA table_info(boots)")}
            except sqlite3.DatabaseError as exc:
                raise self._damaged(exc) from exc
            self._counted = "written" in columns
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stack.close()
        if isinstance(error, sqlite3.DatabaseError | SchemaError):
            raise self._damaged(error) from error

    def look(self) -> SpoolView:
        """Sums of everything."""
        boots = self._boots()
        ages = self._ages(boots)
        tombstones, buried = 0, Counter[LossReason]()
        sums = {priority: [0, 0, None] for priority in Priority}  # type: dict[Priority, list[Any]]
        pending = Counter[int]()
        for priority, boot, _, body in self._rows():
            record = wire.decode_record(body, boot)
            total = sums[priority]
            total[0] += 1
            total[1] += len(body) + ROW_BYTES
            until_ms, later_s = ages[boot]
            total[2] = max(total[2] or 0.0, max(0.0, until_ms - record.t_ms) * 1e-3 + later_s)
            pending[boot] += 1
            if isinstance(record, Tombstone):
                tombstones += 1
                buried[record.reason] += record.last_seq - record.first_seq + 1
        drops: dict[int, dict[LossReason, int]] = {}
        for boot, reason, count in self._db.execute("SELECT boot, reason, count FROM drops"):
            drops.setdefault(boot, {})[LossReason(reason)] = count
        return SpoolView(
            path=self._path,
            file_bytes=sum(file.stat().st_size for file in (self._path, _wal(self._path)) if file.exists()),
            waiting={
                priority: Waiting(records=records, size_bytes=size, age_s=age)
                for priority, (records, size, age) in sums.items()
            },
            tombstones=tombstones,
            buried=buried,
            boots=tuple(
                BootView(
                    boot=boot_name(boot),
                    created=created,
                    acked=acked,
                    pending=pending[boot],
                    dropped=drops.get(boot, {}),
                    written_bytes=written,
                    seconds=(until_ms - since_ms) * 1e-3,
                )
                for boot, created, acked, written, since_ms, until_ms in boots
            ),
        )

    def dump(self, *, since_seq: int = 0, boot: str | None = None) -> Iterator[dict[str, Any]]:
        """Waiting records as plain data, in the order of sending: from that number on, of one boot or of all.

        Raises InputError for a boot that the spool does not know.
        """
        names = {boot_name(number): number for number, *_ in self._boots()}
        if boot is not None and boot not in names:
            raise InputError(f"no boot {boot} in {self._path}", hint=f"there is {', '.join(names) or 'none'}")
        for priority, number, seq, body in self._rows():
            if seq >= since_seq and boot in (None, boot_name(number)):
                record = record_to_dict(wire.decode_record(body, number))
                yield {"boot": boot_name(number), "seq": seq, "class": priority.name.lower(), **record}

    def _damaged(self, error: Exception) -> IntegrityError:
        return IntegrityError(
            f"the spool {self._path} is damaged: {error}", hint="what it held cannot be told for sure"
        )

    def _boots(self) -> list[tuple[int, int, int, int, int, int]]:
        more = "written, since_ms, until_ms" if self._counted else "0, 0, 0"
        return self._db.execute(f"SELECT boot, created, acked, {more} FROM boots ORDER BY boot").fetchall()  # noqa: S608

    def _rows(self) -> Iterator[tuple[Priority, int, int, bytes]]:
        rows = self._db.execute("SELECT priority, boot, seq, body FROM records ORDER BY priority, boot, seq")
        return ((Priority(priority), boot, seq, body) for priority, boot, seq, body in rows)

    def _ages(self, boots: list[tuple[int, int, int, int, int, int]]) -> dict[int, tuple[int, float]]:
        """Of each boot: the time of its last commit, and how long ago that was at least (pauses between boots: 0)."""
        later_s = max(0.0, time.time() - self._changed_s)
        ages = {}
        for boot, _, _, _, since_ms, until_ms in reversed(boots):
            ages[boot] = (until_ms, later_s)
            later_s += (until_ms - since_ms) * 1e-3
        return ages


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _copy(source: Path, target: Path) -> float:
    """Copy database and log as of one moment; returns when they were last changed (Unix seconds).

    A checkpoint writes to the database first; the log begins anew, with another salt in its header, some time after.
    So a database and then a log belong together when neither the one's contents nor the other's header have changed
    until after the copies: what the database has of the log is in the log still. The other way round a checkpoint
    between the two would bring pages that are newer than the copied log, under a header that has not changed yet.
    """
    log, copied_log = _wal(source), _wal(target)
    for _ in range(_TRIES):
        try:
            before = _header(log)
            copied_log.unlink(missing_ok=True)
            shutil.copyfile(source, target)
            if before:
                shutil.copyfile(log, copied_log)
            with source.open("rb") as now, target.open("rb") as then:
                same = hashlib.file_digest(now, "sha256").digest() == hashlib.file_digest(then, "sha256").digest()
            if same and _header(log) == before:
                return max(file.stat().st_mtime for file in (source, log) if file.exists())
        except OSError as exc:
            raise InputError(f"cannot read the spool {source}: {exc.strerror}", hint="check its rights") from exc
        time.sleep(_PAUSE_S)
    raise InputError(f"the spool {source} is being written to all the time", hint="try again")


def _header(log: Path) -> bytes:
    try:
        with log.open("rb") as stream:
            return stream.read(_WAL_HEADER_BYTES)
    except FileNotFoundError:
        return b""
