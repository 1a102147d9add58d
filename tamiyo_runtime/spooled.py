"""What a spool hands out: records with their place, and the balance of what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tamiyo_runtime.contracts.records import LossReason, Priority, Record

RANDOM_BITS = 32


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names a record in the order of sending."""

    priority: Priority
    boot: int
    seq: int


@dataclass(frozen=True, slots=True)
class Spooled:
    """A committed record. ``size_bytes``: of its encoding alone, an upper bound of what it adds to a frame."""

    key: Key
    record: Record
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Accounts:
    """What became of the records of one boot, or of all. ``created == acked + pending + sum(dropped.values())``."""

    created: int
    acked: int
    pending: int
    dropped: Mapping[LossReason, int]

    def __add__(self, other: Accounts) -> Accounts:
        return Accounts(
            created=self.created + other.created,
            acked=self.acked + other.acked,
            pending=self.pending + other.pending,
            dropped=Counter(self.dropped) + Counter(other.dropped),
        )


def boot_name(boot: int) -> str:
    """A boot number for people: ``counter.random``."""
    return f"{boot >> RANDOM_BITS}.{boot & (1 << RANDOM_BITS) - 1:08x}"
