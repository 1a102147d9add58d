"""Where the tables of a spool are: in its file, or in memory while the disk of that is full, or without a file at all.

Two moves, there and back. Memory holds only what was recorded since the first: what is in the file stays there, and is
not read until the spool is back. Both together are the spool's accounts at any time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.spool_file import memory_spool, open_spool
from tamiyo_runtime.spool_rows import Rows
from tamiyo_runtime.spooled import Accounts

_RETRY_S, _RETRY_CAP_S = 1.0, 60.0  # how long a full disk is left alone, at first and after some tries


class Home:
    """See the module's description. `rows` is where records go and come from now."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: Rows | None = None
        self._memory: Rows | None = None
        self._created_before = 0  # of the boot, in the file, while the spool is in memory
        self._wait_s = self._retry_s = 0.0
        self.trouble: str | None = None
        """Why the spool is in memory, None when it is in its file."""

    @property
    def rows(self) -> Rows:
        """The tables in use. Opens the file at first; raises what `open_spool` raises."""
        if self._memory is not None:
            return self._memory
        if self._file is None:
            self._file = Rows(memory_spool() if self._path is None else open_spool(self._path))
        return self._file

    @property
    def in_memory(self) -> bool:
        """Whether they end with the process."""
        return self._memory is not None

    def created_here(self, next_seq: int) -> int:
        """Of that many numbers of this boot, those that the tables in use account for."""
        return next_seq - self._created_before

    def created(self, boot: int) -> int:
        """How many records were numbered in a boot."""
        return sum(rows.created(boot) for rows in self._both())

    def accounts(self, boot: int | None) -> Accounts:
        """The balance of one boot, or of all."""
        first, *second = (rows.accounts(boot) for rows in self._both())
        return sum(second, start=first)

    def leave(self, why: str, boot: int, since_ms: int, machine: str, now_s: float) -> None:
        """From now on records go to memory."""
        self._created_before = self._file.created(boot) if self._file is not None else 0
        self._memory = Rows(memory_spool())
        self._memory.begin(boot, since_ms, machine)
        self.trouble = why
        self._wait_s = _RETRY_S
        self._retry_s = now_s + self._wait_s

    def may_return(self, now_s: float) -> bool:
        """Whether it is time to try to."""
        return self._memory is not None and now_s >= self._retry_s

    @contextlib.contextmanager
    def returning(self, now_s: float) -> Iterator[Rows]:
        """The file's tables are in use in the block, which is to take over those given; if it can't, they go on."""
        memory, before = self._memory, self._created_before
        assert memory is not None, "the spool is in its file"
        self._memory, self._created_before = None, 0
        try:
            yield memory
        except (TamiyoError, sqlite3.OperationalError) as exc:  # full, or another's by now
            self._memory, self._created_before, self.trouble = memory, before, str(exc.__cause__ or exc)
            self._wait_s = min(2 * self._wait_s, _RETRY_CAP_S)
            self._retry_s = now_s + self._wait_s
        else:
            memory.db.close()
            self.trouble = None

    def close(self) -> None:
        """Close what is open."""
        for rows in (self._memory, self._file):
            if rows is not None:
                rows.db.close()

    def _both(self) -> list[Rows]:
        return [rows for rows in (self._memory, self._file) if rows is not None]
