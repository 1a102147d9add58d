"""Which committed records wait to be sent, in the order of sending.

Alarms come first, the newest before all others; then events, window summaries and single samples, of each the oldest
first. Records that are on their way do not wait, until they are given back. Reads from the spool only what it holds
since the last look.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from tamiyo_runtime.contracts.records import Priority
from tamiyo_runtime.spool import Key, Spool, Spooled

FRAME_RECORDS = 512
"""As many of a class are looked at, at most: no frame takes more."""


class Outbox:
    """See the module's description."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._flying: set[Key] = set()
        self._sent_up_to: dict[Priority, Key] = {}  # up to here all of a class are on their way or gone
        self._loaded: dict[Priority, list[Spooled]] = {priority: [] for priority in Priority}
        self._found: dict[bool, list[Spooled]] = {}
        self._stale = True
        self._seen = (-1, -1)

    def waiting(self, *, raw: bool) -> list[Spooled]:
        """What may go into the next frame: records of one boot, the most important first. ``raw``: samples too."""
        seen = (self._spool.commits, self._spool.drops)
        if seen[1] != self._seen[1]:
            self._loaded = {priority: [] for priority in Priority}
            self._sent_up_to.clear()  # a spool that has come back from memory holds older boots again
        if self._stale or seen != self._seen:
            self._seen, self._stale = seen, False
            for priority in Priority:
                self._load(priority)
            self._found.clear()
        if raw not in self._found:
            self._found[raw] = self._first(raw=raw)
        return self._found[raw]

    def waiting_bytes(self, *, raw: bool) -> int:
        """The encoded size of what `waiting` gives."""
        return sum(spooled.size_bytes for spooled in self.waiting(raw=raw))

    def _first(self, *, raw: bool) -> list[Spooled]:
        classes = [loaded for priority, loaded in self._loaded.items() if raw or priority is not Priority.RAW]
        boot = next((loaded[0].key.boot for loaded in classes if loaded), None)
        # Of each class up to the first of another boot: what is sent goes in order, and none is passed over.
        return [
            spooled for loaded in classes for spooled in takewhile(lambda spooled: spooled.key.boot == boot, loaded)
        ]

    def launched(self, records: Iterable[Spooled]) -> None:
        """These, the first of what waited, are on their way."""
        for spooled in records:
            self._flying.add(spooled.key)
            self._sent_up_to[spooled.key.priority] = spooled.key
        for priority, loaded in self._loaded.items():
            self._loaded[priority] = [spooled for spooled in loaded if spooled.key not in self._flying]
        self._stale = True

    def landed(self, keys: Iterable[Key]) -> None:
        """These have been stored, or are gone: nothing remains to be sent of them."""
        self._flying.difference_update(keys)

    def returned(self, keys: Iterable[Key]) -> None:
        """These are not on their way any more, and wait again."""
        for key in keys:
            self._flying.discard(key)
            self._sent_up_to.pop(key.priority, None)
            self._loaded[key.priority].clear()
        self._stale = True

    def _load(self, priority: Priority) -> None:
        loaded = self._loaded[priority]
        if priority is Priority.ALARM:
            page = self._spool.pending(priority, limit=FRAME_RECORDS + len(self._flying), newest=True)
            loaded[:] = [spooled for spooled in page if spooled.key not in self._flying][:FRAME_RECORDS]
            return
        after = loaded[-1].key if loaded else self._sent_up_to.get(priority)
        while len(loaded) < FRAME_RECORDS:
            page = self._spool.pending(priority, after=after, limit=FRAME_RECORDS)
            loaded.extend(spooled for spooled in page if spooled.key not in self._flying)
            if len(page) < FRAME_RECORDS:
                break
            after = page[-1].key
