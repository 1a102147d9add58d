"""The bundle that is offered, cut as devices ask for it. Holds no more than a list a frame size, and one chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.update.apply import list_of
from tamiyo_runtime.update.chunks import DIGEST_BYTES, FRAME_BYTES, Chunks, list_bytes, list_frame, to_frame
from tamiyo_runtime.update.messages import Part, Want

_SIZES = 4  # of frames that one file is cut to: devices of one fleet have one or two


class Shelf:
    """One file. Raises InputError when it is missing or no bundle has its size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        whole = list_of(path)
        self.sha256, self.size_bytes = whole.sha256.hex(), whole.size_bytes
        self._lists: dict[int, Chunks] = {}

    def frames(self, want: Want) -> Iterator[bytes]:
        """What was asked for, in order. Raises SchemaError for another file, or for pieces that it does not have."""
        require(want.file == self.sha256, "file", "is not the bundle that is offered")
        chunks = self._cut(want.payload_bytes - FRAME_BYTES)
        count = chunks.count
        if want.part is Part.LIST:
            count = -(-list_bytes(self.size_bytes, chunks.chunk_bytes) // chunks.chunk_bytes)
        require(max(want.indices) < count, "missing", f"the {want.part} has {count} pieces")
        return self._frames(want, chunks)

    def _frames(self, want: Want, chunks: Chunks) -> Iterator[bytes]:
        if want.part is Part.LIST:
            yield from (list_frame(chunks, index) for index in want.indices)
            return
        for index in want.indices:
            with self._path.open("rb") as stream:  # open for one read: thousands may be asked for at a time
                stream.seek(index * chunks.chunk_bytes)
                data = stream.read(chunks.length(index))
            yield to_frame(chunks, index, data)

    def _cut(self, chunk_bytes: int) -> Chunks:
        if chunk_bytes not in self._lists:
            if len(self._lists) >= _SIZES:
                self._lists.pop(next(iter(self._lists)))
            self._lists[chunk_bytes] = list_of(self._path, chunk_bytes, digest_bytes=DIGEST_BYTES)
        return self._lists[chunk_bytes]
