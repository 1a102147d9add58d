"""Entries bound one to the next: each holds the SHA-256 of the one before and of itself, over canonical JSON.

What the audit logs of growth and of devices have in common. A chain shows an entry changed, removed or put in between.
It is not keyed: whoever can write the whole file can write another; and that its end was cut off shows only to
somebody who knows a later head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from tamiyo_runtime.contracts.document import canonical_json

GENESIS = "0" * 64
"""What stands for the entry before the first."""


class Entry(Protocol):
    """What an entry must have; it is a dataclass, and all its fields but ``sha256`` are hashed."""

    @property
    def index(self) -> int:
        """Its place, counted from 0."""

    @property
    def previous(self) -> str:
        """The SHA-256 of the entry before it."""

    @property
    def sha256(self) -> str:
        """That of its other fields."""

    def content(self) -> Mapping[str, Any]:
        """What is hashed."""


def digest(content: Mapping[str, Any]) -> str:
    """The SHA-256 of an entry's content, in hexadecimal."""
    return hashlib.sha256(canonical_json(dict(content))).hexdigest()


def first_break(entries: Iterable[Entry], *, index: int = 0, previous: str | None = GENESIS) -> int | None:
    """The index of the first entry that does not follow from the one before it; None when all do.

    ``index`` and ``previous``: of the first entry; ``previous`` None accepts any, for a chain whose start is gone.
    """
    for entry in entries:
        follows = entry.index == index and previous in {None, entry.previous}
        if not follows or entry.sha256 != digest(entry.content()):
            return index
        index, previous = index + 1, entry.sha256
    return None
