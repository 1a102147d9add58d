"""The compact binary form of a batch of records, its ack, and a JSON twin for debugging.

A frame is one byte, a body and a check sum. The byte holds the version (5 bits), whether the body is compressed (0x80),
whether any record carries fields this version does not know (0x40) and whether the bundle is left out (0x20), which a
LoRa frame at SF12 is too small for. The body:

    boot, bundle (4 bytes), lowest seq, created     varints; created as distance from the highest seq + 1, 0 unknown
    stamp                                           see `stamp`; since version 2
    string table                                    configuration ids and details, each once
    number of sections; one section a kind: kind, rows, runs of seqs, columns (see `columns`), ragged columns, extras
    or, for a single record, its kind and its row alone (see `sections`); since version 2

The check sum is the CRC-32 of the device's name and all bytes before it, big-endian: what was damaged on the way, or
came out under another device's name, is refused and sent again instead of stored as something else. An ack ends in one
too, for a damaged one could free records that nobody stored. It guards against accidents, not against an attacker.

A batch is a set: records come back in order of their numbers, whatever the order they went in. Decoding is total: it
returns a valid batch or raises SchemaError, for any bytes, in bounded memory.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tamiyo_runtime.contracts.columns import LIMIT, Reader, put_varint
from tamiyo_runtime.contracts.document import check_schema, dump, load, parse_json, require
from tamiyo_runtime.contracts.errors import SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.records import (
    SCHEMA,
    Ack,
    Batch,
    Numbered,
    Record,
    record_from_dict,
    record_to_dict,
)
from tamiyo_runtime.contracts.rows import CODE_OF_KIND, LAYOUTS, Strings, TooLargeError
from tamiyo_runtime.contracts.sections import (
    MAX_RECORDS,
    SINGLE,
    is_short,
    put_extra,
    put_section,
    put_single,
    read_count,
    read_extra,
    read_section,
    read_single,
)
from tamiyo_runtime.contracts.stamp import CodedStamp, Stamp

VERSION = 2
"""Of frames and of records. Version 1 had no stamp and no sketches; it is read for ever."""
ACK_VERSION = 1
MAX_FRAME_BYTES = 256 << 10
MAX_BODY_BYTES = 1 << 20
MAX_ACK_RANGES = 4096

CHECK_BYTES = 4

VERSION_MASK = 0x1F
_NO_BUNDLE = 0x20
HAS_EXTRA = 0x40
COMPRESSED = 0x80
_MIN_COMPRESSIBLE = 64  # shorter bodies hardly ever gain, and trying costs more than the rest of the encoding


def sealed(data: bytes, device: str) -> bytes:
    """The data and its check sum."""
    return data + _check_sum(data, device)


def _check_sum(data: bytes, device: str) -> bytes:
    return zlib.crc32(data, zlib.crc32(device.encode())).to_bytes(CHECK_BYTES, "big")


def opened(data: bytes, device: str, path: str, latest: int = VERSION) -> bytes:
    """The data before the check sum. Its first byte is no later version's."""
    require(0 < len(data) <= MAX_FRAME_BYTES, path, f"{len(data)} bytes are not 1..{MAX_FRAME_BYTES}")
    _check_version(data[0] & VERSION_MASK, latest)
    inner, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
    require(bool(inner) and check == _check_sum(inner, device), path, "damaged, or of another device")
    return inner


def encode(batch: Batch, *, device: str = "") -> bytes:
    """The frame of a device; raises SchemaError for an empty batch, a number given twice, or a value out of range."""
    require(0 < len(batch.records) <= MAX_RECORDS, "records", f"must be 1..{MAX_RECORDS}, got {len(batch.records)}")
    records = sorted(batch.records, key=lambda numbered: numbered.seq)
    _check_distinct(records)
    body = bytearray()
    _put_header(body, batch, records)
    strings = Strings()
    present = {CODE_OF_KIND[numbered.record.KIND] for numbered in records}
    sections = bytearray()
    has_extra = any(numbered.record.extra for numbered in records)
    single = len(records) == 1 and is_short(records[0].record)
    if single:
        put_single(sections, records[0].record, strings, batch.boot)
    else:
        put_varint(sections, len(present))
    for code in LAYOUTS if not single else ():
        if code in present:
            rows = [numbered for numbered in records if CODE_OF_KIND[numbered.record.KIND] == code]
            put_section(sections, code, rows, strings, batch.boot, lowest=records[0].seq, has_extra=has_extra)
    strings.put(body)
    body += sections
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError("records", f"{len(body)} bytes are more than {MAX_BODY_BYTES}")
    flags = VERSION | (HAS_EXTRA if has_extra else 0) | (0 if batch.bundle else _NO_BUNDLE)
    if len(body) >= _MIN_COMPRESSIBLE:
        packed = zlib.compress(body, 9, -15)
        if len(packed) < len(body):
            flags, body = flags | COMPRESSED, bytearray(packed)
    size = 1 + len(body) + CHECK_BYTES
    if size > MAX_FRAME_BYTES:
        raise TooLargeError("records", f"a frame of {size} bytes is more than {MAX_FRAME_BYTES}")
    return sealed(bytes([flags]) + body, device)


def encoded_size(batch: Batch) -> int:
    """Bytes of the frame."""
    return len(encode(batch))


def decode(frame: bytes, *, device: str = "") -> Batch:
    """The batch in a frame from an untrusted source; raises SchemaError, SchemaVersionError for a later version."""
    frame = opened(frame, device, "frame")
    version = frame[0] & VERSION_MASK
    reader = Reader(body_of(frame))
    boot, bundle, lowest = read_place(reader, frame[0])
    created = reader.varint()
    stamp = CodedStamp.read(reader) if version > 1 else CodedStamp()
    strings = Strings.read(reader, version)
    has_extra = bool(frame[0] & HAS_EXTRA)
    records: list[Numbered] = []
    seen_code, count = 0, read_count(reader, version)
    if count >= SINGLE:
        require(not has_extra, "frame", "extra fields of a record without any")
        records = read_single(reader, count, lowest, strings, boot)
    for _ in range(count if count < SINGLE else 0):
        code = reader.varint(below=max(LAYOUTS) + 1)
        require(code in LAYOUTS and code > seen_code, "frame", f"kind {code} is unknown or out of order")
        seen_code = code
        records += read_section(reader, code, strings, boot, lowest=lowest, has_extra=has_extra)
        require(len(records) <= MAX_RECORDS, "frame", f"more than {MAX_RECORDS} records")
    reader.done()
    require(bool(records), "frame", "holds no record")
    records.sort(key=lambda numbered: numbered.seq)
    _check_distinct(records)
    total = records[-1].seq + created if created else 0
    require(total < LIMIT, "frame", f"{total} is outside 0..2^63-1")
    return Batch(boot, bundle, tuple(records), total, stamp.decoded(_latest_ms(records)))


def pack(
    boot: int,
    bundle: str,
    records: Sequence[Numbered],
    limit_bytes: int,
    *,
    created: int = 0,
    stamp: Stamp | None = None,
    device: str = "",
) -> tuple[bytes, int]:
    """Encode as many records from the front of ``records`` as fit; returns the frame and how many it holds.

    The prefix cannot be made longer by one record. ``(b"", 0)`` when not even the first record fits.
    """

    def attempt(count: int) -> bytes | None:
        try:
            frame = encode(Batch(boot, bundle, tuple(records[:count]), created, stamp), device=device)
        except TooLargeError:
            return None
        return frame if len(frame) <= limit_bytes else None

    most = min(len(records), MAX_RECORDS)
    if not most:
        return b"", 0
    best = attempt(most)
    if best is not None:
        return best, most
    low, high = 0, most  # ``low`` records fit, ``high`` don't
    best = b""
    while high - low > 1:
        middle = (low + high) // 2
        frame = attempt(middle)
        if frame is None:
            high = middle
        else:
            low, best = middle, frame
    return best, low


def spans(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as inclusive ranges, ascending and as few as can be."""
    ordered = sorted(set(numbers))
    breaks = [index + 1 for index, (a, b) in enumerate(pairwise(ordered)) if b != a + 1]
    ends = [0, *breaks, len(ordered)] if ordered else []
    return tuple((ordered[start], ordered[end - 1]) for start, end in pairwise(ends))


def encode_ack(ack: Ack, *, device: str = "") -> bytes:
    """An ack as bytes; ranges are inclusive, ascending and disjoint, else SchemaError."""
    require(len(ack.ranges) <= MAX_ACK_RANGES, "ranges", f"more than {MAX_ACK_RANGES}")
    out = bytearray([ACK_VERSION])  # a device may be of an earlier version than its collector
    put_varint(out, ack.boot)
    put_varint(out, len(ack.ranges))
    free = 0
    for first, last in ack.ranges:
        require(free <= first <= last, "ranges", f"{first}..{last} is out of order")
        put_varint(out, first - free)
        put_varint(out, last - first)
        free = last + 1
    return sealed(bytes(out), device)


def decode_ack(data: bytes, *, device: str = "") -> Ack:
    """The inverse of ``encode_ack`` for bytes from an untrusted source; raises SchemaError."""
    data = opened(data, device, "ack", ACK_VERSION)
    require(data[0] == ACK_VERSION, "ack", "flags that no ack has")
    reader = Reader(data[1:])
    boot = reader.varint()
    ranges: list[tuple[int, int]] = []
    free = 0
    for _ in range(reader.varint(below=MAX_ACK_RANGES + 1)):
        first = free + reader.varint()
        last = first + reader.varint()
        require(last < 1 << 63, "ack", f"{last} is outside 0..2^63-1")
        ranges.append((first, last))
        free = last + 1
    reader.done()
    return Ack(boot, tuple(ranges))


def encode_record(record: Record, boot: int = 0) -> bytes:
    """One record without its number, as the spool keeps it. ``boot`` is the one it was made in."""
    strings = Strings()
    section = bytearray()
    code = CODE_OF_KIND[record.KIND]
    LAYOUTS[code].put(section, [record], strings, boot)
    out = bytearray([VERSION | (HAS_EXTRA if record.extra else 0), code])
    strings.put(out)
    out += section
    if record.extra:
        put_extra(out, record)
    return bytes(out)


def decode_record(data: bytes, boot: int = 0) -> Record:
    """The inverse of ``encode_record``; raises SchemaError."""
    require(2 <= len(data) <= MAX_FRAME_BYTES, "record", f"{len(data)} bytes are not 2..{MAX_FRAME_BYTES}")
    version = data[0] & VERSION_MASK
    _check_version(version)
    require(data[1] in LAYOUTS, "record", f"kind {data[1]} is unknown")
    reader = Reader(data[2:])
    strings = Strings.read(reader, version)
    layout = LAYOUTS[data[1]]
    rows, counts = layout.read(reader, 1)
    extra = read_extra(reader, layout.kind) if data[0] & HAS_EXTRA else {}
    reader.done()
    return layout.build(rows[0], counts[0], strings, boot, extra)


def batch_to_json(batch: Batch) -> bytes:
    """The same batch for people to read."""
    data = {
        "schema": SCHEMA,
        "boot": batch.boot,
        "bundle": batch.bundle,
        "created": batch.created,
        **({"stamp": dump(batch.stamp)} if batch.stamp else {}),
        "records": [{"seq": numbered.seq, **record_to_dict(numbered.record)} for numbered in batch.records],
    }
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def batch_from_json(raw: bytes) -> Batch:
    """The inverse of ``batch_to_json``; raises SchemaError."""
    data = parse_json(raw, path="batch", limit_bytes=MAX_BODY_BYTES)
    require(isinstance(data, dict), "batch", "expected an object")
    check_schema(str(data.get("schema")), SCHEMA, path="batch.schema")
    records = []
    items = data.get("records")
    require(isinstance(items, list), "batch.records", "expected a list")
    for index, item in enumerate(items):
        path = f"batch.records[{index}]"
        require(isinstance(item, dict) and type(item.get("seq")) is int, f"{path}.seq", "expected an integer")
        fields = {key: value for key, value in item.items() if key != "seq"}
        records.append(Numbered(item["seq"], record_from_dict(fields, path=path)))
    boot, bundle, created = data.get("boot"), data.get("bundle"), data.get("created", 0)
    require(type(boot) is int and type(created) is int, "batch.boot", "boot and created must be integers")
    require(isinstance(bundle, str), "batch.bundle", "expected a string")
    stamp = None if data.get("stamp") is None else load(Stamp, data["stamp"], path="batch.stamp")
    return Batch(boot=boot, bundle=bundle, records=tuple(records), created=created, stamp=stamp)


def _check_distinct(records: Sequence[Numbered]) -> None:
    for before, after in pairwise(records):
        require(before.seq < after.seq, "records", f"number {after.seq} is given twice")


def _check_version(version: int, latest: int = VERSION) -> None:
    if version > latest:
        raise SchemaVersionError(
            "wire", f"version {version} is newer than {latest}, the latest read", hint="upgrade tamiyo-edge"
        )
    require(version > 0, "wire", f"version {version} was never used")


def body_of(opened_frame: bytes) -> bytes:
    """The body of a frame that was `opened`."""
    return _inflate(opened_frame[1:]) if opened_frame[0] & COMPRESSED else opened_frame[1:]


def read_place(reader: Reader, flags: int) -> tuple[int, str, int]:
    """What a body begins with: boot, bundle and the lowest number."""
    return reader.varint(), "" if flags & _NO_BUNDLE else reader.take(4).hex(), reader.varint()


def _inflate(packed: bytes) -> bytes:
    inflater = zlib.decompressobj(-15)
    try:
        body = inflater.decompress(packed, MAX_BODY_BYTES)
    except zlib.error as exc:
        raise SchemaError("frame", f"not compressed data: {exc}") from None
    require(inflater.eof and not inflater.unused_data, "frame", f"truncated, or over {MAX_BODY_BYTES} bytes unpacked")
    return body


def _put_header(body: bytearray, batch: Batch, records: Sequence[Numbered]) -> None:
    try:
        bundle = bytes.fromhex(batch.bundle)
    except ValueError:
        bundle = b""
    require(len(bundle) == 4 or not batch.bundle, "bundle", f"{batch.bundle!r} is not 8 hexadecimal digits")
    highest = records[-1].seq
    require(batch.created == 0 or batch.created > highest, "created", f"{batch.created} does not count {highest}")
    put_varint(body, batch.boot)
    body += bundle
    put_varint(body, records[0].seq)
    put_varint(body, batch.created - highest if batch.created else 0)
    CodedStamp.of(batch.stamp, _latest_ms(records)).put(body)


def _latest_ms(records: Sequence[Numbered]) -> int:
    return max(numbered.record.t_ms for numbered in records)
