"""Records that wait for their commit, and the number of the next one: what of a spool is not on disk yet."""

from __future__ import annotations

from typing import NamedTuple

from tamiyo_runtime.contracts.records import Priority
from tamiyo_runtime.spool_rows import ROW_BYTES, Row


class Before(NamedTuple):
    """How a group was when a transaction began."""

    rows: tuple[Row, ...]
    size_bytes: int
    next_seq: int


class Group:
    """Of one boot. ``size_bytes``: of the bound that the rows will take; ``since_s``: when the first one came."""

    def __init__(self) -> None:
        self.boot = 0
        self.rows: list[Row] = []
        self.size_bytes = 0
        self.next_seq = 0
        self.since_s = 0.0

    def number(self) -> int:
        """The next number, which is used up."""
        self.next_seq += 1
        return self.next_seq - 1

    def add(self, priority: Priority, seq: int, body: bytes) -> None:
        """Take in a record of this boot."""
        self.rows.append((priority, self.boot, seq, body))
        self.size_bytes += len(body) + ROW_BYTES

    def take_back(self, seq: int) -> bool:
        """Take the last record out again, if it is that one; whether it was."""
        if not self.rows or self.rows[-1][2] != seq:
            return False
        self.size_bytes -= len(self.rows.pop()[3]) + ROW_BYTES
        return True

    def clear(self) -> None:
        """All are committed. Numbers go on."""
        self.rows.clear()
        self.size_bytes = 0

    def before(self) -> Before:
        """What `restore` needs when a transaction comes to nothing."""
        return Before(tuple(self.rows), self.size_bytes, self.next_seq)

    def restore(self, before: Before) -> None:
        """Be as before a transaction."""
        self.rows, self.size_bytes, self.next_seq = list(before.rows), before.size_bytes, before.next_seq
