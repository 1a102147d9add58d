"""What happened to a network while it grew, in order, each entry bound to the one before by its hash.

Append-only: a rollback restores weights, never history. The chain shows an entry changed, removed or put in between;
it is not keyed, so it does not show that the whole log was written anew (the bundle's signature does).

Every entry is in the log before what it tells of can be seen; `audit_file.AuditFile` is the log that outlives its
process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime.contracts.chain import GENESIS, digest, first_break
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train.lifecycle import Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line. ``kind``: transition, decision, panic, rollback, refusal, split; of a course: course, files."""

    index: int
    step: int
    kind: str
    data: Mapping[str, Any]
    previous: str
    sha256: str

    def content(self) -> Mapping[str, Any]:
        """What ``sha256`` is over."""
        return _content(self.index, self.step, self.kind, self.data, self.previous)


def _content(index: int, step: int, kind: str, data: Mapping[str, Any], previous: str) -> dict[str, Any]:
    return {"index": index, "step": step, "kind": kind, "data": dict(data), "previous": previous}


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
        sha256 = digest(_content(index, step, kind, data, previous))
        return Entry(index=index, step=step, kind=kind, data=data, previous=previous, sha256=sha256)

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
    if (index := first_break(entries)) is not None:
        raise IntegrityError(
            f"audit log: entry {index} does not follow from the one before",
            hint="the run folder was changed after it was written; train again or restore it from a copy",
        )
