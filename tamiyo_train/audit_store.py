"""Audit logs as they lie in run folders, and the lives they tell of. Reads; never writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.document import load, parse_json
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError
from tamiyo_train.audit import Entry
from tamiyo_train.audit_file import NAME, read_entries

RECORD = "run.json"
_LIMIT_BYTES = 64 << 20
NETWORK = ""
"""Path of what concerns the network as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Entries and the file they were read from; their chain is not yet checked."""

    file: Path
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened to a slot, or to the network."""

    index: int
    step: int
    what: str
    after: str | None
    why: str

    def row(self) -> list[object]:
        """Cells of a table."""
        return [self.index, self.step, self.what, self.after, self.why]

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {"entry": self.index, "step": self.step, "what": self.what, "after": self.after, "why": self.why}


def load_log(folder: Path) -> Log:
    """The log of a finished run, else that of one that runs or was killed; raises InputError when there is neither."""
    record, lines = folder / RECORD, [folder / NAME, *sorted(folder.glob(f"*/{NAME}"))]
    if record.is_file():
        return Log(file=record, entries=_recorded(record))
    for path in lines:
        if path.is_file():
            return Log(file=path, entries=read_entries(path))
    if not folder.is_dir():
        raise InputError(f"run not found: {folder}", hint="give the folder of a run, as in runs/digits")
    raise InputError(f"no audit log in {folder}", hint=f"a run has {RECORD}, one that is not finished {NAME}")


def lives(entries: Iterable[Entry]) -> dict[str, list[Moment]]:
    """Moments of the network (path "") and of every slot that has lived, by path, in order."""
    told: dict[str, list[Moment]] = {NETWORK: []}
    states: dict[str, str] = {}
    for entry in entries:
        data = entry.data
        if entry.kind == "transition":
            path = str(data.get("path", data["slot"]))
            states[path] = str(data["after"])
            told.setdefault(path, []).append(_moment(entry, str(data["event"]), states[path], str(data["reason"])))
            continue
        told[NETWORK].append(_moment(entry, *_network_moment(entry)))
        for path, state in dict(data.get("slots", {})).items():
            if entry.kind == "rollback" and states.get(path, "dormant") != state:
                states[path] = str(state)
                told.setdefault(path, []).append(_moment(entry, "rollback", states[path], _reason(data)))
    return {path: told[path] for path in sorted(told) if told[path]}


def _recorded(record: Path) -> tuple[Entry, ...]:
    try:
        document = parse_json(record.read_bytes(), path=RECORD, limit_bytes=_LIMIT_BYTES)
        entries = document["record"]["audit"]
        return tuple(load(Entry, entry, path=f"audit[{index}]") for index, entry in enumerate(entries))
    except (SchemaError, KeyError, TypeError) as exc:
        raise IntegrityError(
            f"{record} is damaged: {getattr(exc, 'message', 'it holds no audit log')}", hint="restore it from a copy"
        ) from exc


def _moment(entry: Entry, what: str, after: str | None, why: str) -> Moment:
    return Moment(index=entry.index, step=entry.step, what=what, after=after, why=why)


def _network_moment(entry: Entry) -> tuple[str, str | None, str]:
    data = entry.data
    if entry.kind == "decision":
        details = [f"{key} {data[key]}" for key in ("slot", "blueprint", "intensity") if key in data]
        return f"decision {str(data.get('operation', '')).lower()}", None, ", ".join(details)
    if entry.kind == "course":
        missed = "; ".join(map(str, data.get("failed", ())))
        why = str(data.get("why", ""))
        return f"stage {data.get('stage')}: {data.get('move')}", None, f"{why}; missed: {missed}" if missed else why
    if entry.kind == "opening":
        return (
            f"opens with the {data.get('from')} policy",
            None,
            f"for hosts of {data.get('layout')}, domain-slots x blueprints",
        )
    if entry.kind == "files":
        return f"stage {data.get('stage')}: learns from {data.get('path')}", None, f"samples {data.get('sha256')}"
    if entry.kind == "split":
        pairs = zip(data.get("regions", ()), data.get("shares", ()), strict=False)
        shares = ", ".join(f"slots {region}: {float(share):.0%}" for region, share in pairs)
        return f"split by {data.get('allocator')}", None, shares
    return entry.kind, None, _reason(data)


def _reason(data: Any) -> str:
    parts = [str(data[key]) for key in ("panic", "reason", "what") if key in data]
    return ": ".join(parts)
