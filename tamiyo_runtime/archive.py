"""The container of a bundle: a zip file of which there is exactly one form for given contents.

Members are stored, not compressed, sorted by name, with one fixed timestamp and no attributes. Any zip tool opens
such a file, but this reader accepts nothing else: it walks the members from the front, rebuilds the directory that
must follow and compares it to the last byte. So a symbolic link, a duplicate, an overlap, an archive bomb, trailing
data, or a single flipped bit anywhere is refused, without a rule for each.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError
from tamiyo_runtime.contracts.manifest import check_member_name

MAX_MEMBERS = 256
MAX_MEMBER_BYTES = 32 << 20
MAX_TOTAL_BYTES = 64 << 20

# Fields of the ZIP format (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16), little-endian.
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_VERSION = 20
_UTF8 = 0x0800  # names are UTF-8
_STORED = 0
_DATE = (1980 - 1980) << 9 | 1 << 5 | 1  # 1 January 1980, the earliest the format knows
_HINT = "fetch or export the bundle again"


def pack(members: Mapping[str, bytes]) -> bytes:
    """The archive of ``members``, the same bytes on every machine; raises SchemaError on an unsafe name or size."""
    _check_limits({name: len(data) for name, data in members.items()})
    parts: list[bytes] = []
    entries: list[_Entry] = []
    offset = 0
    for name in sorted(members):
        entry = _Entry(name, members[name], offset)
        entries.append(entry)
        parts += (entry.local_header(), members[name])
        offset += len(parts[-2]) + len(parts[-1])
    return b"".join(parts) + _directory(entries, offset)


def unpack(data: bytes, *, source: str) -> dict[str, bytes]:
    """The members of an archive that ``pack`` made; raises IntegrityError naming ``source`` and the bad member."""
    entries: list[_Entry] = []
    offset = 0
    while data[offset : offset + 4] == b"PK\x03\x04":
        entry = _read_member(data, offset, source)
        entries.append(entry)
        offset += len(entry.local_header()) + len(entry.data)
        if len(entries) > MAX_MEMBERS:
            raise IntegrityError(f"{source} holds more than {MAX_MEMBERS} files", hint=_HINT)
    if not entries:
        raise IntegrityError(f"{source} is not a bundle", hint="a bundle is what `tamiyo export` writes")
    names = [entry.name for entry in entries]
    if names != sorted(set(names)):
        raise IntegrityError(f"{source} has members that are out of order or double", hint=_HINT)
    directory = _directory(entries, offset)
    if data[offset:] != directory:
        problem = "is truncated" if directory.startswith(data[offset:]) else "has a damaged directory"
        raise IntegrityError(f"{source} {problem}", hint=_HINT)
    try:
        _check_limits({entry.name: len(entry.data) for entry in entries})
    except SchemaError as exc:
        raise IntegrityError(f"{source}: {exc.message}", hint=_HINT) from exc
    return {entry.name: entry.data for entry in entries}


class _Entry:
    """One member, and the headers that describe it."""

    __slots__ = ("crc", "data", "name", "offset")

    def __init__(self, name: str, data: bytes, offset: int) -> None:
        self.name = name
        self.data = data
        self.offset = offset
        self.crc = zlib.crc32(data)

    def local_header(self) -> bytes:
        name, size = self.name.encode(), len(self.data)
        fixed = _LOCAL.pack(b"PK\x03\x04", _VERSION, _UTF8, _STORED, 0, _DATE, self.crc, size, size, len(name), 0)
        return fixed + name

    def central_header(self) -> bytes:
        name, size = self.name.encode(), len(self.data)
        sizes = (self.crc, size, size, len(name), 0, 0, 0, 0, 0, self.offset)
        return _CENTRAL.pack(b"PK\x01\x02", _VERSION, _VERSION, _UTF8, _STORED, 0, _DATE, *sizes) + name


def _read_member(data: bytes, offset: int, source: str) -> _Entry:
    header = data[offset : offset + _LOCAL.size]
    if len(header) < _LOCAL.size:
        raise IntegrityError(f"{source} is truncated", hint=_HINT)
    _, _, _, method, _, _, crc, stored, size, name_bytes, _ = _LOCAL.unpack(header)
    start = offset + _LOCAL.size + name_bytes
    raw_name = data[offset + _LOCAL.size : start]
    try:
        name = raw_name.decode()
    except UnicodeDecodeError:
        raise IntegrityError(f"{source} has a member whose name is damaged", hint=_HINT) from None
    if method != _STORED or stored != size:
        raise IntegrityError(f"{source}: member {name!r} is not in the form that tamiyo writes", hint=_HINT)
    if len(raw_name) < name_bytes or start + size > len(data):
        raise IntegrityError(f"{source} is truncated within {name!r}", hint=_HINT)
    entry = _Entry(name, data[start : start + size], offset)
    if entry.crc != crc:
        raise IntegrityError(f"{source}: {name!r} is corrupt", hint=_HINT)
    if entry.local_header() != data[offset:start]:
        raise IntegrityError(f"{source}: the header of {name!r} is damaged", hint=_HINT)
    return entry


def _directory(entries: list[_Entry], offset: int) -> bytes:
    central = b"".join(entry.central_header() for entry in entries)
    return central + _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(central), offset, 0)


def _check_limits(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        check_member_name(name)
        if size > MAX_MEMBER_BYTES:
            raise SchemaError("files", f"'{name}' has {size} bytes, the limit is {MAX_MEMBER_BYTES}")
    if len(sizes) > MAX_MEMBERS:
        raise SchemaError("files", f"{len(sizes)} files, the limit is {MAX_MEMBERS}")
    total = sum(sizes.values())
    if total > MAX_TOTAL_BYTES:
        raise SchemaError("files", f"{total} bytes in all, the limit is {MAX_TOTAL_BYTES}")
