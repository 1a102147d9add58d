"""What happened to a device that somebody may have to answer for, in order: starts, orders, updates, keys, faults.

    FOLDER/audit/000000000000.jsonl    a record a line, named after the first record in it

Append-only, each record bound to the one before (`tamiyo_runtime.contracts.chain`), synced before `AuditLog.append`
returns, mode 0600, at most `KEPT_FILES` files of `FILE_BYTES`. Several processes may append. A process that is killed
leaves at most one line unfinished; the next record cuts it off and says so.

No secret and no sample goes in: values are short scalars that the callers choose. That records were cut off at the end
shows only to somebody who knows a later `AuditLog.checkpoint`, which is why telemetry reports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tamiyo_runtime.contracts.chain import GENESIS, digest, first_break
from tamiyo_runtime.contracts.document import canonical_json, load, parse_json
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError, TamiyoError
from tamiyo_runtime.files import private_folder, sync_folder

FOLDER = "audit"
FILE_BYTES = 256 << 10
KEPT_FILES = 4
_LINE_BYTES = 4096
_TEXT = 200  # characters of a value
_CHECKPOINT_DIGITS = 16
_HINT = "somebody changed the log, or the disk did; compare it with a copy"

Scalar = str | int | float | bool | None


class Happened(StrEnum):
    """Kinds of records."""

    START = "start"
    STOP = "stop"
    MODE = "mode"  # to safe, rollback or fault
    ORDER = "order"  # obeyed
    REFUSED = "refused"  # an order
    UPDATE = "update"  # a slot went a step on
    ROLLBACK = "rollback"  # what ran was given up for the other slot
    KEY = "key"  # the keys whose orders and bundles count were changed
    TRUST = "trust"  # a signer's key was trusted by hand
    DOWNGRADE = "downgrade"  # an older version was allowed to run
    CRASH = "crash"  # a supervised process ended as it should not
    GIVEN_UP = "given_up"  # and will not be started again
    CUT = "cut"  # the line before was not finished; what was there of it is gone
    MISSED = "missed"  # records that could not be written


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line. ``time_ms``: since 1970 by the device's clock, which may be wrong; ``index`` is what orders."""

    index: int
    time_ms: int
    kind: str
    data: Mapping[str, Any]
    previous: str
    sha256: str

    def content(self) -> Mapping[str, Any]:
        """What ``sha256`` is over."""
        return _content(self.index, self.time_ms, self.kind, self.data, self.previous)

    @property
    def checkpoint(self) -> str:
        """``INDEX:DIGITS``: what pins this record and all before it."""
        return f"{self.index}:{self.sha256[:_CHECKPOINT_DIGITS]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """Where the next record goes. ``whole``: bytes of the file's finished lines."""

    path: Path
    size: int
    whole: int
    index: int
    previous: str


class AuditLog:
    """The log of a device, in ``folder/audit``. Nothing is made before the first record."""

    def __init__(self, folder: Path, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.folder = folder / FOLDER
        self._now_ms = now_ms
        self._known: _Tail | None = None

    def append(self, kind: Happened, **data: Scalar) -> Record:
        """Add a record; it is on the disk when this returns. Raises InputError when it cannot be written.

        Text is cut to 200 printable characters, floats must be finite.
        """
        tame = {name: _tame(value) for name, value in data.items() if value is not None}
        try:
            with self._locked():
                tail = self._tail()
                for path in _files(self.folder):
                    if path > tail.path:  # holds not one finished record
                        path.unlink()
                if tail.size != tail.whole:
                    tail = self._cut(tail)
                return self._write(tail, kind, tame)
        except OSError as exc:
            raise InputError(
                f"cannot write the audit log in {self.folder}: {exc.strerror}", hint="check the folder and its space"
            ) from exc

    def checkpoint(self) -> str | None:
        """``INDEX:DIGITS`` of the last record, None when there is none; for whoever keeps it elsewhere."""
        tail = _tail_of(self.folder)
        return f"{tail.index - 1}:{tail.previous[:_CHECKPOINT_DIGITS]}" if tail.index else None

    def _cut(self, tail: _Tail) -> _Tail:
        os.truncate(tail.path, tail.whole)
        torn = tail.size - tail.whole
        cut = _Tail(**{**asdict(tail), "path": tail.path, "size": tail.whole})
        self._write(cut, Happened.CUT, {"bytes": torn})
        return self._tail()

    def _write(self, tail: _Tail, kind: Happened, data: Mapping[str, Scalar]) -> Record:
        content = _content(tail.index, self._now_ms(), kind, data, tail.previous)
        record = Record(**content, sha256=digest(content))
        line = canonical_json(asdict(record)) + b"\n"
        path, whole = tail.path, tail.whole
        fresh = whole > 0 and whole + len(line) > FILE_BYTES
        if fresh:
            path, whole = self.folder / _name(record.index), 0
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            rest = line
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if not whole:
            for old in _files(self.folder)[:-KEPT_FILES]:
                old.unlink()
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        size = whole + len(line)
        self._known = _Tail(path=path, size=size, whole=size, index=record.index + 1, previous=record.sha256)
        return record

    def _tail(self) -> _Tail:
        """The tail as last written, if nobody else has written since."""
        known = self._known
        if known is not None:
            files = _files(self.folder)
            if files and files[-1] == known.path and known.path.stat().st_size == known.size:
                return known
        return _tail_of(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private_folder(self.folder)
        handle = os.open(self.folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class Auditor:
    """Tells an audit log without ever failing or waiting: a thread of its own writes, in order.

    For whoever has deadlines. What cannot be written is counted, and the count is the next record that can.
    """

    def __init__(self, log: AuditLog, *, on_trouble: Callable[[str], None] = lambda _: None) -> None:
        """``on_trouble`` is told the first time that a record cannot be written, by the thread."""
        self.log = log
        self._on_trouble = on_trouble
        self._missed = 0
        self._told = False
        self._waiting: SimpleQueue[tuple[Happened, dict[str, Scalar]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    def tell(self, kind: Happened, **data: Scalar) -> None:
        """Leave a record to the thread."""
        self._waiting.put((kind, data))

    def close(self) -> None:
        """Wait until everything told is written."""
        self._waiting.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (told := self._waiting.get()) is not None:
            self._append(*told)

    def _append(self, kind: Happened, data: dict[str, Scalar]) -> None:
        try:
            if self._missed:
                self.log.append(Happened.MISSED, records=self._missed)
                self._missed = 0
            self.log.append(kind, **data)
        except TamiyoError as exc:
            self._missed += 1
            if not self._told:
                self._told = True
                self._on_trouble(exc.message)


def is_log(folder: Path) -> bool:
    """Whether a device's audit log is in ``folder/audit``, or is ``folder`` itself."""
    return bool(_files(folder / FOLDER) or _files(folder))


def read_log(folder: Path) -> tuple[Record, ...]:
    """All records of the log in ``folder/audit``, or in ``folder``, its chain checked.

    A last line that was not finished is left out. Raises InputError when it cannot be read, IntegrityError naming the
    first record that is damaged, was changed, or is missing. Records that the rotation took away are not missing.
    """
    place = folder / FOLDER if _files(folder / FOLDER) else folder
    files = _files(place)
    if not files:
        raise InputError(f"no audit log in {folder}", hint="give the state folder of a device")
    records: list[Record] = []
    for path in files:
        records += _read_file(path, last=path == files[-1])
    start = int(files[0].stem)
    if start and len(files) < KEPT_FILES:
        raise IntegrityError(
            f"audit log: record {start - 1} is missing, and the rotation does not take it away so soon", hint=_HINT
        )
    if (index := first_break(records, index=start, previous=None if start else GENESIS)) is not None:
        raise IntegrityError(f"audit log: record {index} does not follow from the one before", hint=_HINT)
    return tuple(records)


def check_checkpoint(records: Sequence[Record], checkpoint: str) -> None:
    """Raise IntegrityError when a log is not the one that a checkpoint was taken of, or was cut off since.

    Raises InputError for what is no checkpoint, or one of a record that the rotation took away.
    """
    index_text, _, digits = checkpoint.partition(":")
    if not index_text.isdigit() or len(digits) < _CHECKPOINT_DIGITS:
        raise InputError(f"{checkpoint!r} is no checkpoint", hint="as telemetry reports it: 123:0123456789abcdef")
    index, last = int(index_text), records[-1].index
    if index > last:
        raise IntegrityError(f"audit log: it ends with record {last}, and once had record {index}", hint=_HINT)
    if index < records[0].index:
        raise InputError(f"record {index} is no longer kept", hint="take a later checkpoint")
    if not records[index - records[0].index].sha256.startswith(digits):
        raise IntegrityError(f"audit log: record {index} is not the one that was reported", hint=_HINT)


def _content(index: int, time_ms: int, kind: str, data: Mapping[str, Any], previous: str) -> dict[str, Any]:
    return {"index": index, "time_ms": time_ms, "kind": str(kind), "data": dict(data), "previous": previous}


def _tame(value: Scalar) -> Scalar:
    if isinstance(value, str):
        line = " ".join(value.split())
        return "".join(char if char.isprintable() else "?" for char in line)[:_TEXT]
    return value


def _name(index: int) -> str:
    return f"{index:012}.jsonl"


def _files(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(path for path in folder.glob("*.jsonl") if len(path.stem) == 12 and path.stem.isdigit())


def _tail_of(folder: Path) -> _Tail:
    """Where the next record goes, by what is on the disk. What is damaged there is left for `read_log` to find."""
    for path in reversed(_files(folder)):
        raw = path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        lines = raw[:whole].split(b"\n")[:-1]
        if not lines and path.stem != "0" * 12:
            continue  # a process was killed between making the file and its first record
        previous = _sha256_of(lines[-1]) if lines else GENESIS
        index = int(path.stem) + len(lines)
        return _Tail(path=path, size=len(raw), whole=whole, index=index, previous=previous)
    return _Tail(path=folder / _name(0), size=0, whole=0, index=0, previous=GENESIS)


def _sha256_of(line: bytes) -> str:
    """What the next record is to call the one before it."""
    try:
        return load(Record, parse_json(line, limit_bytes=_LINE_BYTES)).sha256
    except SchemaError:
        return hashlib.sha256(line).hexdigest()


def _read_file(path: Path, *, last: bool) -> list[Record]:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read {path}: {exc.strerror}", hint="check its permissions") from exc
    whole = raw.rfind(b"\n") + 1
    records: list[Record] = []
    start = int(path.stem)
    for index, line in enumerate(raw[:whole].split(b"\n")[:-1], start):
        try:
            records.append(load(Record, parse_json(line, limit_bytes=_LINE_BYTES), path="record"))
        except SchemaError as exc:
            raise IntegrityError(f"audit log: record {index} is damaged: {exc.message}", hint=_HINT) from exc
    if len(raw) != whole and not last:
        raise IntegrityError(f"audit log: record {start + len(records)} is not finished", hint=_HINT)
    return records
