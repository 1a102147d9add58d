"""What a spool gives up, and the tombstones that say so: they are records like others, and are delivered too.

All of it happens within a transaction of the spool's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Ack, LossReason, Priority, Tombstone
from tamiyo_runtime.meters import Clock
from tamiyo_runtime.spool_group import Group
from tamiyo_runtime.spool_rows import ROW_BYTES, Rows
from tamiyo_runtime.spooled import Key
from tamiyo_runtime.tombstones import class_of, merged


class Losses:
    """See the module's description. ``rows``: the tables that records are in at the time.

    ``last``: the last tombstone, while it may still grow. ``drops`` grows whenever a record has gone.
    """

    def __init__(self, rows: Callable[[], Rows], group: Group, clock: Clock) -> None:
        self._rows, self._group, self._clock = rows, group, clock
        self.last: tuple[Key, Tombstone] | None = None
        self.drops = 0

    def drop(self, keys: Iterable[Key], reason: LossReason) -> None:
        """Bury records in as few ranges as can be, whatever their classes. One that was acked meanwhile is not lost."""
        rows = self._rows()
        ordered = sorted(keys, key=lambda key: (key.boot, key.seq))
        for (boot, _), group in groupby(enumerate(ordered), lambda item: (item[1].boot, item[1].seq - item[0])):
            run = [key for _, key in group]
            first, last = run[0].seq, run[-1].seq
            gone = {priority: rows.delete(priority, boot, first, last) for priority in {k.priority for k in run}}
            self.drops += 1
            if any(gone.values()):
                self._bury(boot, first, last, reason, class_of(priority for priority, count in gone.items() if count))
                rows.count_drops(boot, reason, sum(gone.values()))

    def drop_oldest(self, priority: Priority, excess_bytes: int) -> None:
        """Drop records of a class until so many bytes are free, or none is left. Tombstones stay."""
        keys = []
        for key, body in self._rows().oldest(priority):
            if excess_bytes <= 0:
                break
            excess_bytes -= len(body) + ROW_BYTES
            keys.append(key)
        self.drop(keys, LossReason.SPOOL_FULL)

    def acked(self, ack: Ack, first: int, last: int) -> None:
        """A tombstone that is stored there grows no more, whether or not it was handed out: it would count twice."""
        if self.last and self.last[0].boot == ack.boot and first <= self.last[0].seq <= last:
            self.last = None

    def handed_out(self, priority: Priority) -> None:
        """Records of a class were given to whoever sends them: a tombstone among them must stay as it is."""
        if self.last and self.last[0].priority is priority:
            self.last = None

    def moved(self) -> None:
        """Records may be elsewhere now, whatever was given out."""
        self.last = None
        self.drops += 1

    def merge(self) -> None:
        """Replace all tombstones by fewer that say the same, if that at least halves them; the group is committed.

        One that is on its way counts as dropped though it may arrive: the ledger takes what is stored as not lost.
        """
        rows = self._rows()
        stones = rows.tombstones()
        losses = merged(stones)
        if 2 * len(losses) > len(stones):
            return
        for key, _ in stones:
            rows.delete(key.priority, key.boot, key.seq, key.seq)
        self.drops += 1
        for boot, count in Counter(key.boot for key, _ in stones).items():
            rows.count_drops(boot, LossReason.SPOOL_FULL, count)
        self.last = None
        for loss in losses:
            self._bury(loss.boot, loss.first_seq, loss.last_seq, loss.reason, loss.priority)

    def _bury(self, boot: int, first: int, last: int, reason: LossReason, priority: Priority) -> None:
        """Leave a tombstone, or let the last one grow when it ends just before and has not been sent."""
        if self.last:
            key, stone = self.last
            ends_before = (stone.boot, stone.reason, stone.last_seq + 1) == (boot, reason, first)
            if ends_before and key.priority is priority:
                stone = Tombstone(t_ms=stone.t_ms, boot=boot, first_seq=stone.first_seq, last_seq=last, reason=reason)
                if not self._group.take_back(key.seq):  # which was made in this transaction
                    self._rows().delete(priority, key.boot, key.seq, key.seq)
                self._bury_as(key, stone)
                return
        now_ms = int(self._clock.now_s() * 1000)
        stone = Tombstone(t_ms=now_ms, boot=boot, first_seq=first, last_seq=last, reason=reason)
        self._bury_as(Key(priority, self._group.boot, self._group.number()), stone)

    def _bury_as(self, key: Key, stone: Tombstone) -> None:
        self._group.add(key.priority, key.seq, wire.encode_record(stone, self._group.boot))
        self.last = (key, stone)
