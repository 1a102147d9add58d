"""A file that is asked for piece by piece: first the list of its chunks, then the chunks. No socket, no clock.

`Fetch.want` says what to ask for and when; `Fetch.take` gets whatever came in. A few pieces are asked for at a time,
the next ones when they are there; when nothing comes, the same again after a time that doubles, so that a fleet whose
operator went home is quiet. Memory: the list, whose size the signed offer fixes beforehand, and what `Receiver` takes.
A list of somebody else's making costs time and no more: when chunks do not fit it, or do not add up, it is fetched
anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from itertools import islice

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError
from tamiyo_runtime.update.chunks import FRAME_BYTES, MAX_BYTES, Chunks, from_frame, list_bytes, list_id, split_frame
from tamiyo_runtime.update.messages import MOST_PAYLOAD_BYTES, Part, Want, ranges_of
from tamiyo_runtime.update.record import Offer
from tamiyo_runtime.update.transfer import Arrival, Receiver

WINDOW = 32
"""Pieces asked for at once: half of what the device's inbox holds, 512 KiB in frames of the largest size."""

_PATIENCE_S = 3.0
_PATIENCE_CAP_S = 300.0
_GIVE_UP_LIST = 8  # chunks in a row that do not fit it


class Taken(StrEnum):
    """What became of a frame."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CORRUPT = "corrupt"
    FOREIGN = "foreign"  # of another file, or no frame


class Fetch:
    """One file on its way here. ``begin`` makes room for it, durably, once its list is known.

    ``receiver``: a transfer that a restart interrupted. Raises SchemaError for a size that no bundle has.
    """

    def __init__(
        self,
        offer: Offer,
        begin: Callable[[Chunks], Receiver],
        *,
        receiver: Receiver | None = None,
        payload_bytes: int = MOST_PAYLOAD_BYTES,
    ) -> None:
        require(offer.size_bytes <= MAX_BYTES, "size_bytes", f"{offer.size_bytes} bytes are more than a bundle has")
        self.offer = offer
        self.receiver = receiver
        self.counts: Counter[Taken] = Counter()
        self._begin = begin
        self._payload_bytes = payload_bytes
        self._sha256 = bytes.fromhex(offer.sha256)
        self._list_bytes = list_bytes(offer.size_bytes, payload_bytes - FRAME_BYTES)
        self._pieces: dict[int, bytes] = {}
        self._asked: set[int] = set()
        self._due_s = 0.0
        self._patience_s = _PATIENCE_S
        self._misfits = 0

    @property
    def done(self) -> bool:
        """Whether every chunk is there."""
        return self.receiver is not None and self.receiver.complete

    @property
    def progress(self) -> tuple[int, int]:
        """Chunks received, and all; (0, 0) before the list is there."""
        return (self.receiver.received, self.receiver.chunks.count) if self.receiver else (0, 0)

    def nudge(self) -> None:
        """Somebody is there again: ask at once."""
        self._due_s, self._patience_s = 0.0, _PATIENCE_S

    def forget_list(self) -> None:
        """The list was none of this file: fetch it anew. Chunks that fit the next one are kept."""
        self.receiver, self._misfits = None, 0
        self._pieces.clear()
        self._asked.clear()

    def want(self, now_s: float) -> Want | None:
        """What to ask for now; None while what was asked for may still come. To be sent: it counts as asked."""
        if self.done or (self._asked and now_s < self._due_s):
            return None
        if self._asked:  # nothing of it came for a while
            self._patience_s = min(_PATIENCE_CAP_S, 2 * self._patience_s)
        missing = list(islice(self.receiver.missing() if self.receiver else self._missing_pieces(), WINDOW))
        self._asked = set(missing)
        self._due_s = now_s + self._patience_s
        part, payload_bytes = Part.LIST, self._payload_bytes
        if self.receiver is not None:
            part, payload_bytes = Part.BUNDLE, self.receiver.chunks.chunk_bytes + FRAME_BYTES
        return Want(file=self.offer.sha256, part=part, payload_bytes=payload_bytes, missing=ranges_of(missing))

    def take(self, frame: bytes, now_s: float) -> Taken:
        """A frame came in. One that is not as it should be changes nothing but a count."""
        taken = self._take_piece(frame) if self.receiver is None else self._take_chunk(self.receiver, frame)
        self.counts[taken] += 1
        if taken is Taken.STORED:
            self._patience_s, self._misfits = _PATIENCE_S, 0
            self._due_s = now_s + _PATIENCE_S
        elif taken is Taken.CORRUPT and self.receiver is not None:
            self._patience_s = _PATIENCE_S  # somebody is there
            self._misfits += 1
            if self._misfits >= _GIVE_UP_LIST:
                self.forget_list()
        return taken

    def _take_chunk(self, receiver: Receiver, frame: bytes) -> Taken:
        found = from_frame(receiver.chunks, frame)
        if found is None:
            return Taken.FOREIGN
        index, data = found
        arrival = receiver.take(index, data)
        if arrival is not Arrival.CORRUPT:
            self._asked.discard(index)
        return Taken(arrival.value)

    def _take_piece(self, frame: bytes) -> Taken:
        found = split_frame(list_id(self._sha256), frame)
        if found is None:
            return Taken.FOREIGN
        index, data = found
        if not 0 <= index < self._piece_count or len(data) != self._piece_length(index):
            return Taken.CORRUPT
        if index in self._pieces:
            return Taken.DUPLICATE
        self._pieces[index] = data
        self._asked.discard(index)
        if len(self._pieces) < self._piece_count:
            return Taken.STORED
        raw = b"".join(self._pieces[number] for number in range(self._piece_count))
        self._pieces.clear()
        self._asked.clear()
        try:
            chunks = Chunks.from_wire(raw)
            require(chunks.sha256 == self._sha256, "sha256", "is another file's")
            require(chunks.size_bytes == self.offer.size_bytes, "size_bytes", "is not what was offered")
            require(chunks.chunk_bytes == self._payload_bytes - FRAME_BYTES, "chunk_bytes", "is not what was asked for")
        except (IntegrityError, SchemaError):
            return Taken.CORRUPT
        self.receiver = self._begin(chunks)
        return Taken.STORED

    @property
    def _piece_count(self) -> int:
        return -(-self._list_bytes // (self._payload_bytes - FRAME_BYTES))

    def _piece_length(self, index: int) -> int:
        full = self._payload_bytes - FRAME_BYTES
        return min(full, self._list_bytes - index * full)

    def _missing_pieces(self) -> list[int]:
        return [index for index in range(self._piece_count) if index not in self._pieces]
