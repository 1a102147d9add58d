"""The audit log as a file: one JSON line an entry, handed to the operating system before anything goes on.

A process that is killed leaves a chain that can be verified, but for a last line it may not have finished. Every
``batch`` entries, and on `close`, the file is synced, so that a loss of power costs no more than a batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tamiyo_runtime.contracts.document import canonical_json, load, parse_json
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError
from tamiyo_train.audit import AuditLog, Entry, verify

NAME = "audit.jsonl"
_LINE_LIMIT_BYTES = 1 << 20


class AuditFile(AuditLog):
    """An `AuditLog` that is written to a file as it grows.

    A file that is there already is gone over again: an episode that is repeated, or taken up from an earlier state,
    must tell the same story as far as the file goes, and adds to it from there. Raises IntegrityError where it differs.
    """

    def __init__(self, path: Path, *, batch: int = 16) -> None:
        super().__init__()
        self.path = path
        self._batch = batch
        self._known, whole = _read(path) if path.exists() else ((), 0)
        verify(self._known)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.ftruncate(self._handle, whole)  # a last line that was not finished
            os.lseek(self._handle, 0, os.SEEK_END)
        except OSError as exc:
            raise InputError(f"cannot write {path}: {exc.strerror}", hint="check the folder's permissions") from exc

    def append(self, kind: str, *, step: int, **data: Any) -> Entry:
        """Add an entry of JSON-ready data; it is on its way to the disk when this returns."""
        entry = self._next(kind, step, data)
        if entry.index < len(self._known):
            if entry != self._known[entry.index]:
                raise IntegrityError(
                    f"{self.path}: entry {entry.index} tells of another run", hint="give each run a folder of its own"
                )
        else:
            self._write(canonical_json(asdict(entry)) + b"\n")
            if (entry.index + 1) % self._batch == 0:
                os.fsync(self._handle)
        self._entries.append(entry)
        return entry

    def resume(self, entries: Iterable[Entry]) -> None:
        """Go on from a kept log; what of it the file lacks is written."""
        kept = tuple(entries)
        super().resume(kept)
        if kept[: len(self._known)] != self._known[: len(kept)]:
            raise IntegrityError(f"{self.path} tells of another run than the one that is taken up")
        for entry in kept[len(self._known) :]:
            self._write(canonical_json(asdict(entry)) + b"\n")

    def close(self) -> None:
        """Sync and close; further entries are refused."""
        os.fsync(self._handle)
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._handle, line) :]


def read_entries(path: Path) -> tuple[Entry, ...]:
    """The entries of a log file, a last line that was not finished left out; the chain is for `verify` to check.

    Raises InputError when it cannot be read, IntegrityError naming the first line that is no entry.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[tuple[Entry, ...], int]:
    """Entries, and the length in bytes of the lines that hold them."""
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read {path}: {exc.strerror}", hint="check the path and its permissions") from exc
    whole = raw.rfind(b"\n") + 1
    entries = []
    for index, line in enumerate(raw[:whole].split(b"\n")[:-1]):
        try:
            document = parse_json(line, path=f"{path.name}[{index}]", limit_bytes=_LINE_LIMIT_BYTES)
            entries.append(load(Entry, document, path=f"{path.name}[{index}]"))
        except SchemaError as exc:
            raise IntegrityError(
                f"{path}: entry {index} is damaged: {exc.message}", hint="restore the file from a copy"
            ) from exc
    return tuple(entries), whole
