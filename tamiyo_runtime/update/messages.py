"""What a device says over the air about orders and updates: what it wants, and how things stand with it.

Both are small JSON documents with a check sum, as birth and state are. Nothing here is signed: a broker's access
rights say who may speak for a device, and nothing that an operator does on these words can make a device run anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tamiyo_runtime.contracts.document import check_schema, dump, load, require
from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.inbox import ROOM
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update.chunks import MAX_CHUNKS
from tamiyo_runtime.update.health import Verdict
from tamiyo_runtime.update.record import require_sha256
from tamiyo_runtime.update.states import SlotState

WANT = "tamiyo.want/1"
REPORTED = "tamiyo.reported/1"
MAX_RANGES = 64
MAX_WANTED = 64
"""Chunks that one message may ask for: what whoever sends them must be ready to hold for a device."""

LEAST_PAYLOAD_BYTES, MOST_PAYLOAD_BYTES = 24, ROOM[Channel.CHUNK].message_bytes
TEXT_CHARACTERS = 200
SHORT = 16
"""Hex digits by which a report names keys and files that it only lists."""

Ranges = tuple[tuple[int, int], ...]


class Part(StrEnum):
    """Which file is meant: the bundle, or the list of its chunks."""

    LIST = "list"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A device asks for pieces of an update. ``missing``: (first, last) indices; ``payload_bytes``: of a frame."""

    schema: str = WANT
    file: str
    part: Part
    payload_bytes: int
    missing: Ranges

    def __post_init__(self) -> None:
        check_schema(self.schema, WANT)
        require_sha256(self.file)
        legal = LEAST_PAYLOAD_BYTES <= self.payload_bytes <= MOST_PAYLOAD_BYTES
        require(legal, "payload_bytes", f"must be in [{LEAST_PAYLOAD_BYTES}, {MOST_PAYLOAD_BYTES}]")
        require(0 < len(self.missing) <= MAX_RANGES, "missing", f"must be 1 to {MAX_RANGES} ranges")
        require(all(0 <= a <= b < MAX_CHUNKS for a, b in self.missing), "missing", "a range is none")
        require(sum(b - a + 1 for a, b in self.missing) <= MAX_WANTED, "missing", f"more than {MAX_WANTED} at once")

    @property
    def indices(self) -> list[int]:
        """Every piece that is asked for."""
        return [index for first, last in self.missing for index in range(first, last + 1)]

    def to_bytes(self, device: str) -> bytes:
        """The message."""
        return announcement.write(dump(self), device)

    @classmethod
    def from_bytes(cls, payload: bytes, device: str) -> Want:
        """The inverse; raises SchemaError."""
        return load(cls, announcement.read(payload, device, path="want"), path="want")


class Outcome(StrEnum):
    """What became of an order."""

    OBEYED = "obeyed"
    REFUSED = "refused"
    UNDONE = "undone"  # obeyed, and found impossible when it was carried out


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """The last order that was heard, named by the first ``SHORT`` digits of the envelope's SHA-256.

    ``counter`` 0 when it could not be read; ``problem`` empty when all is well.
    """

    digest: str
    outcome: Outcome
    counter: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport:
    """One slot, as far as it matters to an operator."""

    state: SlotState
    sha256: str | None = None
    name: str | None = None
    version: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """How things stand with a device, as it has them durably.

    ``running``: a slot. ``offer``: SHA-256 of the bundle offered last, ``reaches`` whether this device takes it.
    ``received`` of ``chunks`` have arrived. ``verdict``: on the bundle on trial, None without one. ``counters``: the
    highest that were obeyed, by signer. ``rejected``: what failed here. Both cut to ``SHORT`` digits.
    ``refused``: messages that were refused, by reason. ``trouble``: what an update waits for. ``applied``: the run is
    as the record says.
    """

    schema: str = REPORTED
    slots: Mapping[str, SlotReport]
    running: str | None
    offer: str | None = None
    reaches: bool = False
    received: int = 0
    chunks: int = 0
    verdict: Verdict | None = None
    order: OrderReport | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    trouble: str | None = None
    applied: bool = False

    def __post_init__(self) -> None:
        check_schema(self.schema, REPORTED)
        require(self.running is None or self.running in self.slots, "running", "no such slot")
        for count in (self.received, self.chunks, *self.counters.values(), *self.refused.values()):
            require(count >= 0, "counts", "must not be negative")

    @property
    def now(self) -> SlotReport | None:
        """The slot that runs."""
        return self.slots[self.running] if self.running is not None else None

    def to_bytes(self, device: str) -> bytes:
        """The message."""
        return announcement.write(dump(self), device)

    @classmethod
    def from_bytes(cls, payload: bytes, device: str) -> Reported:
        """The inverse; raises SchemaError."""
        return load(cls, announcement.read(payload, device, path="reported"), path="reported")


def ranges_of(indices: Iterable[int]) -> Ranges:
    """Rising indices as (first, last) pairs."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return tuple(found)


def digest_of(envelope: bytes) -> str:
    """What reports name an order by."""
    return hashlib.sha256(envelope).hexdigest()[:SHORT]


def cut_text(text: str, most: int = TEXT_CHARACTERS) -> str:
    """A text that is short and plain enough to be said over the air."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text[: most + 1])
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."
