"""What happened to a network while it grew, in order, each entry bound to the one before by its hash.

Append-only: a rollback restores weights, never history. The chain shows an entry changed, removed or put in between;
it is not keyed, so it does not show that the whole log was written anew (the bundle's signature does).

Every entry is in the log before what it tells of can be seen; `audit_file.AuditFile` is the log that outlives its
process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime.contracts.document import canonical_json
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train.lifecycle import Transition

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log. ``kind``: transition, decision, panic, rollback, refusal."""

    index: int
    step: int
    kind: str
    data: Mapping[str, Any]
    previous: str
    sha256: str


def _digest(index: int, step: int, kind: str, data: Mapping[str, Any], previous: str) -> str:
    content = {"index": index, "step": step, "kind": kind, "data": dict(data), "previous": previous}
    return hashlib.sha256(canonical_json(content)).hexdigest()


class AuditLog:
    """An append-only list of entries."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""
        return tuple(self._entries)

    def append(self, kind: str, *, step: int, **data: Any) -> Entry:
        """Add an entry of JSON-ready data."""
        entry = self._next(kind, step, data)
        self._entries.append(entry)
        return entry

    def _next(self, kind: str, step: int, data: Mapping[str, Any]) -> Entry:
        """The entry that would follow, not yet in the log."""
        previous = self._entries[-1].sha256 if self._entries else GENESIS
        index = len(self._entries)
        digest = _digest(index, step, kind, data, previous)
        return Entry(index=index, step=step, kind=kind, data=data, previous=previous, sha256=digest)

    def resume(self, entries: Iterable[Entry]) -> None:
        """Go on from a kept log that begins with this one; raises IntegrityError when its chain is broken."""
        kept = list(entries)
        verify(kept)
        assert kept[: len(self._entries)] == self._entries, "history is never replaced"
        self._entries = kept

    def transition(self, transition: Transition) -> None:
        """Audit one step of a seed's life; the callback that `LifeCycle` takes. A slot inside a seed adds its path."""
        inner = {} if transition.path == str(transition.slot) else {"path": transition.path}
        self.append(
            "transition",
            step=transition.step,
            slot=transition.slot,
            **inner,
            before=transition.before.value,
            event=transition.event.value,
            after=transition.after.value,
            reason=transition.reason,
        )


def verify(entries: Iterable[Entry]) -> None:
    """Check the chain; raises IntegrityError naming the first entry that does not fit."""
    previous = GENESIS
    for index, entry in enumerate(entries):
        expected = _digest(index, entry.step, entry.kind, entry.data, previous)
        if entry.index != index or entry.previous != previous or entry.sha256 != expected:
            raise IntegrityError(
                f"audit log: entry {index} does not follow from the one before",
                hint="the run folder was changed after it was written; train again or restore it from a copy",
            )
        previous = entry.sha256
