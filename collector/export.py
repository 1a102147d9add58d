"""Records of one kind as a table for other programs: CSV, JSON lines or Parquet.

A row says where a record comes from, when it was made and how well that is known, then its fields. Columns are the same
whatever the records hold; what has no column of its own is JSON in one (`extra`, a window's counts and sketch).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import islice
from typing import Any, BinaryIO

from collector.reading import StoredRecord
from tamiyo_runtime.contracts.document import EXTRA, dump
from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.records import Decision, EventRecord, Record, Sample, Tombstone, Window
from tamiyo_runtime.spool import boot_name

KINDS: Mapping[str, type[Record]] = {
    "samples": Sample,
    "windows": Window,
    "decisions": Decision,
    "events": EventRecord,
    "tombstones": Tombstone,
}
_PLACE: Mapping[str, type] = {
    "device": str,
    "boot": str,
    "seq": int,
    "t_ms": int,
    "unix_ms": int,
    "time": str,
    "time_source": str,
    "time_error_ms": int,
    "received_ms": int,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS = 10_000  # to a row group of Parquet

Row = dict[str, Any]
Writer = Callable[[BinaryIO, Mapping[str, type], Iterable[Row]], None]


def columns(kind: type[Record]) -> dict[str, type]:
    """Names and types (int or str) of the columns, in order."""
    hints = typing.get_type_hints(kind)
    named = {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name not in _PLACE}
    return {**_PLACE, **{name: int if hint is int else str for name, hint in named.items()}}


def row(stored: StoredRecord) -> Row:
    """A record as a row; values are int, str, None, or what JSON can hold."""
    record, fix = stored.record, stored.fix
    unix_ms = round(stored.at_s * 1000)
    fields = {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    return {
        "device": stored.device,
        "boot": boot_name(stored.boot),
        "seq": stored.seq,
        "t_ms": record.t_ms,
        "unix_ms": unix_ms,
        "time": iso(unix_ms),
        "time_source": stored.time_source.value,
        "time_error_ms": None if fix is None else fix.error_ms,
        "received_ms": round(stored.received_s * 1000),
        **fields,
        EXTRA: dict(record.extra) or None,
    }


def iso(unix_ms: int) -> str | None:
    """UTC to the millisecond; None for what no calendar has room for."""
    try:
        return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def write_csv(stream: BinaryIO, heads: Mapping[str, type], rows: Iterable[Row]) -> None:
    """RFC 4180, UTF-8, a line of names first."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([_flat(one[name]) for name in heads] for one in rows)
    text.detach()


def write_jsonl(stream: BinaryIO, heads: Mapping[str, type], rows: Iterable[Row]) -> None:
    """An object a line; what is not known is left out."""
    for one in rows:
        known = {name: value for name in heads if (value := one[name]) is not None}
        stream.write(json.dumps(known, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")


def write_parquet(stream: BinaryIO, heads: Mapping[str, type], rows: Iterable[Row]) -> None:
    """Integers of 64 bits and texts, zstd; raises MissingExtraError without pyarrow."""
    arrow, parquet = parquet_library()
    schema = arrow.schema([(name, arrow.int64() if kind is int else arrow.string()) for name, kind in heads.items()])
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for group in _groups(rows):
            data = {name: [_flat(one[name]) for one in group] for name in heads}
            writer.write_table(arrow.table(data, schema=schema))


def parquet_library() -> tuple[Any, Any]:
    """pyarrow and its Parquet half; raises MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise MissingExtraError("pyarrow", "parquet") from exc
    return pyarrow, pyarrow.parquet


WRITERS: Mapping[str, Writer] = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}
"""By the end of a file's name."""


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return dump(value)
    return dict(value) if isinstance(value, Mapping) else value


def _flat(value: Any) -> Any:
    """For a cell: anything that is not one value as JSON."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict | list) else value


def _groups(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    left = iter(rows)
    while group := list(islice(left, _ROWS)):
        yield group
