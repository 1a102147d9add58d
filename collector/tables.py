"""The store's file: its tables, opening it, and taking over files of earlier versions.

`docs/collector.md` says what each table holds and how to query it. A file is taken over in one transaction, without
touching a record; versions that do not know the tables of today refuse the file by its application id.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.files import private_file, private_folder

APPLICATION = 0x746D7332  # "tms2": tells our files from others of SQLite
APPLICATION_1 = 0x746D7374  # "tmst": samples were rows, and what is stored was counted by record
VERSION = 2  # of the tables, as user_version
_NAME_IT = "name the file that tamiyo collect --store wrote"

_OLD_TABLES = """
CREATE TABLE devices (
    device TEXT PRIMARY KEY, state TEXT NOT NULL, birth TEXT NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE boots (
    device TEXT, boot INTEGER, created INTEGER NOT NULL, bundle TEXT NOT NULL, first_s REAL NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;
CREATE TABLE records (
    device TEXT, boot INTEGER, seq INTEGER, kind TEXT NOT NULL, t_ms INTEGER NOT NULL, received_s REAL NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (device, boot, seq)
) WITHOUT ROWID;
CREATE TABLE losses (
    device TEXT, boot INTEGER, first_seq INTEGER, last_seq INTEGER, reason TEXT NOT NULL,
    PRIMARY KEY (device, boot, first_seq, last_seq)
) WITHOUT ROWID;
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, received_s REAL NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE counters (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""
_NEW_TABLES = """
CREATE TABLE samples (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, boot INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, count INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    received_s REAL NOT NULL, frames BLOB NOT NULL
);
CREATE INDEX samples_by_place ON samples (device, boot, first_seq);
CREATE TABLE coverage (
    device TEXT, boot INTEGER, first_seq INTEGER, last_seq INTEGER NOT NULL, PRIMARY KEY (device, boot, first_seq)
) WITHOUT ROWID;
CREATE TABLE clocks (
    device TEXT, boot INTEGER, least_ms INTEGER, ntp_ms INTEGER, rtc_ms INTEGER, epoch INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;
"""
_COVER_RECORDS = """
INSERT INTO coverage
SELECT device, boot, MIN(seq), MAX(seq) FROM (
    SELECT device, boot, seq, seq - ROW_NUMBER() OVER (PARTITION BY device, boot ORDER BY seq) AS island FROM records
) GROUP BY device, boot, island;
"""


def open_store(path: Path) -> sqlite3.Connection:
    """The file's connection, in autocommit, full sync. A file of an earlier version is taken over.

    Raises InputError when it cannot be used; IntegrityError when it is damaged or somebody else's.
    """
    try:
        private_folder(path.parent)
        private_file(path)  # SQLite gives its other files the rights of this one
        db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        application = _application(db)  # before anything is changed
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if application != APPLICATION:
            _set_up(db)
        _check_version(db, path)
    except (OSError, sqlite3.OperationalError) as exc:
        raise InputError(f"the store {path} cannot be opened: {exc}", hint="check folder, rights and disk") from exc
    except sqlite3.DatabaseError as exc:
        raise IntegrityError(f"{path} is damaged, or no store: {exc}", hint="move it away to start anew") from exc
    return db


def read_store(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, beside a collector at work or without one, and that leaves no files behind.

    Raises InputError for a file that is missing, cannot be read, or is of an earlier version, which only a collector
    takes over; IntegrityError for one that is damaged or somebody else's.
    """
    if not path.is_file():
        raise InputError(f"there is no store {path}", hint=_NAME_IT)
    try:
        db = _read_only(path)
        application = _application(db)
        db.execute("PRAGMA query_only = ON")
        _check_version(db, path)
    except sqlite3.OperationalError as exc:
        raise InputError(f"the store {path} cannot be read: {exc}", hint="check folder and rights") from exc
    except sqlite3.DatabaseError as exc:
        raise IntegrityError(f"{path} is damaged, or no store: {exc}", hint=_NAME_IT) from exc
    if application != APPLICATION:
        db.close()
        raise InputError(
            f"the store {path} is of an earlier version, or empty",
            hint=f"a collector takes it over: tamiyo collect --store {path} --broker URL --for 1",
        )
    return db


def is_open(path: Path) -> bool:
    """Whether somebody has a store open, or left it in a hurry: its write-ahead log lies beside it."""
    return path.with_name(f"{path.name}-wal").exists()


def _read_only(path: Path) -> sqlite3.Connection:
    """With the write-ahead log where somebody writes; else the file as it lies there.

    For SQLite would make a log and its index again, and they would be ours, which a collector of another user could
    not open.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if is_open(path) else '&immutable=1'}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it is committed, or none."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _application(db: sqlite3.Connection) -> int | None:
    """Whose file it is, None for an empty one. Raises sqlite3.DatabaseError when it is somebody else's."""
    if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None:
        return None
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    if application not in (APPLICATION, APPLICATION_1):
        raise sqlite3.DatabaseError("it is a database of something else")
    return application


def _set_up(db: sqlite3.Connection) -> None:
    """Make the tables, or take over those of version 1. Whoever else opens the file waits, and finds it done."""
    with transaction(db):
        application = _application(db)
        if application == APPLICATION:
            return
        script = _NEW_TABLES + _COVER_RECORDS if application else _OLD_TABLES + _NEW_TABLES
        for statement in script.split(";\n"):  # executescript would commit first
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        db.close()
        raise InputError(
            f"the store {path} is of version {version}, newer than {VERSION}", hint="upgrade tamiyo-edge to read it"
        )
