"""The balance of a boot: what it sent, what is stored, what it lost and why."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.coverage import Coverage


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """The balance of one boot of one device.

    ``sent`` counts the records the device is known to have numbered, ``stored`` those here, ``lost`` those it says it
    dropped, by reason. What is neither is still on its way, and the ledger is not ``balanced``.
    """

    device: str
    boot: int
    sent: int
    stored: int
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Records neither stored nor reported lost."""
        return self.sent - self.stored - sum(self.lost.values())

    @property
    def balanced(self) -> bool:
        """Whether sent = stored + lost."""
        return self.missing == 0


def read_ledger(db: sqlite3.Connection) -> list[DeviceLedger]:
    """The balance of every boot of every device, in that order."""
    totals = {
        (device, boot): int(total)
        for device, boot, total in db.execute(
            "SELECT device, boot, SUM(last_seq - first_seq + 1) FROM coverage GROUP BY device, boot"
        )
    }
    losses: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    for device, boot, first, last, reason in db.execute("SELECT * FROM losses ORDER BY 1, 2, 3, 4"):
        losses.setdefault((device, boot), []).append((first, last, reason))
    return [
        DeviceLedger(device, boot, created, totals.get((device, boot), 0), _lost(db, device, boot, losses))
        for device, boot, created in db.execute("SELECT device, boot, created FROM boots ORDER BY device, boot")
    ]


def _lost(
    db: sqlite3.Connection, device: str, boot: int, losses: Mapping[tuple[str, int], list[tuple[int, int, str]]]
) -> dict[str, int]:
    """Records that are lost, by reason."""
    if (device, boot) not in losses:
        return {}
    query = "SELECT first_seq, last_seq FROM coverage WHERE device = ? AND boot = ? ORDER BY first_seq"
    stored = Coverage(db.execute(query, (device, boot)))
    lost: dict[str, int] = {}
    counted = 0  # up to here, so that ranges that overlap count once
    for first, last, reason in losses[device, boot]:
        start = max(first, counted)
        if start <= last:
            # A record that was dropped after it had been sent is stored all the same: not lost.
            lost[reason] = lost.get(reason, 0) + last - start + 1 - stored.overlap(start, last)
            counted = last + 1
    return {reason: count for reason, count in lost.items() if count}
