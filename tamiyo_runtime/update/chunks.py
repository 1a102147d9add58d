"""A file cut to pieces that fit a link, every piece with its hash, and what sending them takes in bytes.

A chunk's digest is its SHA-256, cut to ``digest_bytes``. In full it costs 17 % beside a chunk of 192 bytes, cut to 8 it
costs 4 %: it then still tells which chunk to send again, and the full SHA-256 of the whole decides what may be opened.
Nothing here is signed; the hash of the whole comes from a signed offer, and the bundle carries a signature of its own.

On the wire a chunk goes in a frame: the first four bytes of the file's SHA-256, the index as 32 bits, the data. The
list itself is a file too: where it is larger than a frame it is sent in chunks by the same means.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tamiyo_runtime.archive import MAX_TOTAL_BYTES
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError
from tamiyo_runtime.link import Link

MAX_BYTES = MAX_TOTAL_BYTES + (1 << 20)
"""The largest bundle there is, with the headers of its archive."""

LORA_PAYLOAD_BYTES = 200
"""A frame of this size passes LoRaWAN in EU868 at spreading factors 7 and 8 (222 bytes), next to other MAC commands."""

FAST_CHUNK_BYTES = 64 << 10
MAX_CHUNKS = 1 << 20
_LEAST_CHUNK, _MOST_CHUNK = 16, 1 << 20
_HEAD = struct.Struct(">4sIIB32s")
_FRAME = struct.Struct(">4sI")
FRAME_BYTES = _FRAME.size
DIGEST_BYTES = 8
"""Of a chunk, in lists that go over the air."""

_MAGIC = b"TMC1"
_LIST_CHECK_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """The list of chunks of a file. ``digests`` are theirs, one behind the other."""

    sha256: bytes
    size_bytes: int
    chunk_bytes: int
    digest_bytes: int
    digests: bytes

    def __post_init__(self) -> None:
        require(len(self.sha256) == 32, "sha256", "must be 32 bytes")
        require(0 < self.size_bytes <= MAX_BYTES, "size_bytes", f"must be in [1, {MAX_BYTES}], got {self.size_bytes}")
        legal = _LEAST_CHUNK <= self.chunk_bytes <= _MOST_CHUNK
        require(legal, "chunk_bytes", f"must be in [{_LEAST_CHUNK}, {_MOST_CHUNK}], got {self.chunk_bytes}")
        require(8 <= self.digest_bytes <= 32, "digest_bytes", f"must be in [8, 32], got {self.digest_bytes}")
        require(self.count <= MAX_CHUNKS, "chunk_bytes", f"{self.count} chunks, the limit is {MAX_CHUNKS}")
        stated = len(self.digests) / self.digest_bytes
        require(stated == self.count, "digests", f"{self.count} chunks and {stated:g} digests")

    @property
    def count(self) -> int:
        """Number of chunks."""
        return -(-self.size_bytes // self.chunk_bytes)

    @property
    def id(self) -> bytes:
        """What frames call this file by."""
        return self.sha256[:4]

    def length(self, index: int) -> int:
        """Size of a chunk; the last may be shorter."""
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)

    def holds(self, index: int, data: bytes) -> bool:
        """Whether this is the chunk of that index."""
        if not 0 <= index < self.count or len(data) != self.length(index):
            return False
        start = index * self.digest_bytes
        return hashlib.sha256(data).digest()[: self.digest_bytes] == self.digests[start : start + self.digest_bytes]

    def to_bytes(self) -> bytes:
        """The list as a file: a head of 45 bytes, then the digests."""
        head = _HEAD.pack(_MAGIC, self.size_bytes, self.chunk_bytes, self.digest_bytes, self.sha256)
        return head + self.digests

    @classmethod
    def from_bytes(cls, raw: bytes) -> Chunks:
        """The inverse; raises IntegrityError."""
        try:
            magic, size_bytes, chunk_bytes, digest_bytes, sha256 = _HEAD.unpack_from(raw)
            require(magic == _MAGIC, "head", "is not that of a list of chunks")
            return cls(
                sha256=sha256,
                size_bytes=size_bytes,
                chunk_bytes=chunk_bytes,
                digest_bytes=digest_bytes,
                digests=raw[_HEAD.size :],
            )
        except (struct.error, SchemaError) as exc:
            raise IntegrityError(f"not a list of chunks: {exc}", hint="send the list again") from exc

    def to_wire(self) -> bytes:
        """The list as it is sent: with the first bytes of its own SHA-256 behind it, since one wrong digest in it
        would make one chunk never fit."""
        raw = self.to_bytes()
        return raw + hashlib.sha256(raw).digest()[:_LIST_CHECK_BYTES]

    @classmethod
    def from_wire(cls, raw: bytes) -> Chunks:
        """The inverse; raises IntegrityError."""
        body, check = raw[:-_LIST_CHECK_BYTES], raw[-_LIST_CHECK_BYTES:]
        if hashlib.sha256(body).digest()[:_LIST_CHECK_BYTES] != check:
            raise IntegrityError("a list of chunks was damaged on its way", hint="send the list again")
        return cls.from_bytes(body)

    @classmethod
    def of(cls, pieces: Iterable[bytes], *, chunk_bytes: int, digest_bytes: int = 32) -> Chunks:
        """The list for a file that is read piece by piece, each ``chunk_bytes`` long but the last."""
        whole, digests, size = hashlib.sha256(), bytearray(), 0
        for piece in pieces:
            require(size % chunk_bytes == 0 and len(piece) <= chunk_bytes, "pieces", "only the last may be shorter")
            whole.update(piece)
            digests += hashlib.sha256(piece).digest()[:digest_bytes]
            size += len(piece)
        return cls(
            sha256=whole.digest(),
            size_bytes=size,
            chunk_bytes=chunk_bytes,
            digest_bytes=digest_bytes,
            digests=bytes(digests),
        )

    @classmethod
    def for_payload(cls, data: bytes, payload_bytes: int = LORA_PAYLOAD_BYTES) -> Chunks:
        """The list for frames of at most ``payload_bytes``, with digests of 8 bytes."""
        chunk_bytes = payload_bytes - FRAME_BYTES
        require(chunk_bytes >= _LEAST_CHUNK, "payload_bytes", f"{payload_bytes} leave no room for a chunk")
        return cls.of(cut(data, chunk_bytes), chunk_bytes=chunk_bytes, digest_bytes=DIGEST_BYTES)


def cut(data: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """The chunks of a file in memory."""
    return (data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes))


def to_frame(chunks: Chunks, index: int, data: bytes) -> bytes:
    """A chunk as it goes over a link."""
    return _FRAME.pack(chunks.id, index) + data


def from_frame(chunks: Chunks, frame: bytes) -> tuple[int, bytes] | None:
    """Index and data; None when the frame belongs to another file or is no frame."""
    return split_frame(chunks.id, frame)


def list_id(sha256: bytes) -> bytes:
    """What frames call the list of that file by."""
    return hashlib.sha256(b"list of " + sha256).digest()[:4]


def list_bytes(size_bytes: int, chunk_bytes: int, digest_bytes: int = DIGEST_BYTES) -> int:
    """Size of the list of a file as it is sent, which is known before the list is."""
    return _HEAD.size + -(-size_bytes // chunk_bytes) * digest_bytes + _LIST_CHECK_BYTES


def list_frame(chunks: Chunks, index: int) -> bytes:
    """A piece of the list as it goes over a link, in frames of the size that those of the chunks have."""
    piece = chunks.to_wire()[index * chunks.chunk_bytes : (index + 1) * chunks.chunk_bytes]
    return _FRAME.pack(list_id(chunks.sha256), index) + piece


def split_frame(file_id: bytes, frame: bytes) -> tuple[int, bytes] | None:
    """Index and data of a frame of that file; None when it belongs to another or is no frame."""
    if len(frame) <= _FRAME.size:
        return None
    file, index = _FRAME.unpack_from(frame)
    return (index, frame[_FRAME.size :]) if file == file_id else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is still to be sent: frames and bytes of payload, the list of chunks included; no retransmissions.

    ``seconds``: how long the link takes at the rate that it can carry for ever, 0 without a limit.
    """

    frames: int
    payload_bytes: int
    seconds: float


def traffic(chunks: Chunks, link: Link, *, missing: int | None = None, with_list: bool = True) -> Traffic:
    """Frames, bytes and time for ``missing`` chunks (None: all). Raises SchemaError when a frame is too large."""
    most = link.max_payload_bytes()
    frame_bytes = _FRAME.size + chunks.chunk_bytes
    require(
        min(frame_bytes, _FRAME.size + chunks.size_bytes) <= most, "chunk_bytes", f"the link carries {most} a frame"
    )
    frames = chunks.count if missing is None else missing
    size = frames * _FRAME.size + min(chunks.size_bytes, frames * chunks.chunk_bytes)
    if with_list:
        listed = list_bytes(chunks.size_bytes, chunks.chunk_bytes, chunks.digest_bytes)
        pieces = math.ceil(listed / (most - _FRAME.size))
        frames, size = frames + pieces, size + listed + pieces * _FRAME.size
    rate = link.sustainable_bytes_per_s()
    if rate <= 0:
        return Traffic(frames=frames, payload_bytes=size, seconds=math.inf)
    return Traffic(frames=frames, payload_bytes=size, seconds=size / rate)
