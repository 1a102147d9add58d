"""The file of a spool: its tables, how it is opened, and what writing it costs in flash.

Times are on the runtime's clock, which counts from a zero of its own: ``since_ms`` when a boot began, ``until_ms`` when
its last commit was made. ``machine``, ``offset_ms`` and ``quality`` say which zero that was, see `ages.BootTimes`.
``written`` is what the boot's commits up to the one before the last wrote.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.files import private_file, private_folder

APPLICATION = 0x746D7370  # "tmsp": tells our files from others of SQLite
_PAGE_BYTES = 2048
_LOG_BYTES = 2 << 20  # the longer the log, the fewer times a page is written twice
_SCHEMA = """
CREATE TABLE IF NOT EXISTS boots (
    boot INTEGER PRIMARY KEY, created INTEGER NOT NULL, acked INTEGER NOT NULL, written INTEGER NOT NULL DEFAULT 0,
    since_ms INTEGER NOT NULL DEFAULT 0, until_ms INTEGER NOT NULL DEFAULT 0,
    machine TEXT NOT NULL DEFAULT '', offset_ms INTEGER, quality TEXT NOT NULL DEFAULT 'none'
);
CREATE TABLE IF NOT EXISTS drops (
    boot INTEGER, reason TEXT, count INTEGER NOT NULL, PRIMARY KEY (boot, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    priority INTEGER, boot INTEGER, seq INTEGER, body BLOB NOT NULL, PRIMARY KEY (priority, boot, seq)
) WITHOUT ROWID;
"""
_ADDED = {
    "written": "INTEGER NOT NULL DEFAULT 0",
    "since_ms": "INTEGER NOT NULL DEFAULT 0",
    "until_ms": "INTEGER NOT NULL DEFAULT 0",
    "machine": "TEXT NOT NULL DEFAULT ''",
    "offset_ms": "INTEGER",
    "quality": "TEXT NOT NULL DEFAULT 'none'",
}


class FlashMeter:
    """Bytes that the opening thread has had written to storage: pages made dirty, by ``/proc/thread-self/io``.

    What the file system adds (its journal) and what the flash controller does with it are not in it. A file system in
    memory counts nothing, and neither does a kernel without this file: `read` says 0 then.
    """

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open("/proc/thread-self/io", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None

    @property
    def counts(self) -> bool:
        """Whether the kernel counts at all."""
        return self._file is not None

    def read(self) -> int:
        """The count so far."""
        if self._file is None:
            return 0
        for line in os.pread(self._file, 512, 0).splitlines():
            if line.startswith(b"write_bytes:"):
                return int(line.split()[1])
        return 0

    def close(self) -> None:
        """No more readings: `read` says 0."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing is in the file yet. Raises InputError when something of somebody else's is."""
    if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None:
        return True
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise InputError("the spool is a database of something else", hint="give the spool a file of its own")
    return False


def _add_columns(db: sqlite3.Connection) -> None:
    """Give the file of an earlier version the columns it lacks."""
    there = {row[1] for row in db.execute("PRAGMA table_info(boots)")}
    for name, kind in _ADDED.items():
        if name not in there:
            db.execute(f"ALTER TABLE boots ADD COLUMN {name} {kind}")


def set_aside(path: Path) -> Path:
    """Rename a damaged spool, so that a new one can begin; it takes the place of one that was set aside before."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("-wal", "-shm", ""):
        there = path.with_name(path.name + suffix)
        if there.exists():
            there.replace(aside.with_name(aside.name + suffix))
    return aside


def memory_spool() -> sqlite3.Connection:
    """The same tables in memory, for as long as the disk has no room."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(_SCHEMA)
    return db


def _no_file(path: Path) -> OSError | None:
    """Why no file can be made beside ``path``, as for want of inodes: SQLite only says that it could not."""
    probe = path.with_name(f".{path.name}.probe")
    try:
        private_file(probe)
        probe.unlink()
    except OSError as exc:
        return exc
    return None


def open_spool(path: Path) -> sqlite3.Connection:
    """Open for one owner, and make what is missing. InputError: it cannot be used. IntegrityError: it is damaged."""
    try:
        private_folder(path.parent)
        private_file(path)  # SQLite gives its other files the rights of this one
        db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
    except (OSError, sqlite3.Error) as exc:
        raise InputError(f"the spool {path} cannot be opened: {exc}", hint="check the folder and its rights") from exc
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        empty = _is_empty(db)  # before anything is changed
        if empty:  # small pages: every commit writes whole ones, and records are of some 20 to 60 bytes
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // _PAGE_BYTES}")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        if empty:
            db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; {_SCHEMA} COMMIT;")
        _add_columns(db)
    except InputError:
        db.close()
        raise
    except sqlite3.OperationalError as exc:
        db.close()
        raise InputError(
            f"the spool {path} cannot be used: {exc}",
            hint="another runtime holds it, or the disk is full or read-only: give each runtime its own spool",
        ) from (_no_file(path) or exc)
    except sqlite3.DatabaseError as exc:
        db.close()
        raise IntegrityError(
            f"the spool {path} is damaged: {exc}", hint="move it away to start with a new one"
        ) from exc
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the file's name must survive a power cut too
    finally:
        os.close(folder)
    return db
