"""What ``tamiyo simulate`` writes: ``result.json``, a row a device, if asked for a row a packet and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.files import check_writable, write_atomic, write_in_place

if TYPE_CHECKING:
    from simulators.fleet.detail.run import Detail
    from simulators.fleet.result import FleetResult, Packets, Table

RESULT = "result.json"
PAGE = "report.html"


@dataclass(slots=True, kw_only=True)
class Files:
    """A folder to be filled; Parquet where pyarrow is installed, CSV elsewhere. ``written`` lists what is there."""

    folder: Path
    wants_packets: bool
    overwrite: bool
    arrow: Any
    written: list[Path] = field(default_factory=list)

    @classmethod
    def in_folder(cls, folder: Path, *, packets: bool, sampled: bool, overwrite: bool) -> Files:
        """Checks that the folder can be filled, before hours of work; raises InputError."""
        from tamiyo_runtime.contracts.errors import InputError

        found = cls(folder=folder, wants_packets=packets, overwrite=overwrite, arrow=_arrow())
        check_writable(folder / RESULT)
        tables = {"devices": True, "packets": packets, "sampled": sampled}
        names = [RESULT, *(found.name(table) for table, wanted in tables.items() if wanted)]
        there = [name for name in names if (folder / name).exists()]
        if there and not overwrite:
            raise InputError(f"{folder / there[0]} exists already", hint="pass --overwrite to replace it")
        return found

    def name(self, table: str) -> str:
        """File name of a table."""
        return f"{table}.{'csv' if self.arrow is None else 'parquet'}"

    @contextmanager
    def packets(self) -> Iterator[Callable[[Packets], None] | None]:
        """Whom to give packets as they come, or None; the file is whole when the block ends well, else absent."""
        if not self.wants_packets:
            yield None
            return
        path = self.folder / self.name("packets")
        with write_in_place(path, overwrite=self.overwrite) as stream:
            if self.arrow is None:
                yield from _csv_rows(stream)
            else:
                yield from _parquet_rows(stream, self.arrow)
        self.written.append(path)

    def write(self, result: FleetResult, sampled: Table | None = None) -> None:
        """The devices' table, that of devices run in detail, and the summary last: it stands for a whole folder."""
        from simulators.fleet.summary import record

        self._write("devices", result.devices)
        if sampled is not None:
            self._write("sampled", sampled)
        text = json.dumps(record(result), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(self.folder / RESULT, text.encode() + b"\n", overwrite=self.overwrite)
        self.written.append(self.folder / RESULT)

    def _write(self, name: str, table: Table) -> None:
        path = self.folder / self.name(name)
        with write_in_place(path, overwrite=self.overwrite) as stream:
            for write in _csv_rows(stream) if self.arrow is None else _parquet_rows(stream, self.arrow):
                write(table)
        self.written.append(path)


def check_page(path: Path, *, overwrite: bool) -> None:
    """Checks that a page can be written, before hours of work; raises InputError."""
    from tamiyo_runtime.contracts.errors import InputError

    check_writable(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already", hint="pass --overwrite to replace it")


def write_page(path: Path, result: FleetResult, detail: Detail | None, *, overwrite: bool) -> None:
    """The run as a page for a browser."""
    from tamiyo_runtime.cli.fleet_page.page import render

    write_atomic(path, render(result, detail).encode(), overwrite=overwrite)


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        return None
    return pyarrow


def _csv_rows(stream: Any) -> Iterator[Callable[[Table], None]]:
    """A writer of tables, one below the other; infinite is ``inf``, absent empty."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    rows, headed = csv.writer(text), False

    def write(table: Table) -> None:
        nonlocal headed
        columns = list(table.columns())
        if not headed:
            rows.writerow([name for name, _, _, _ in columns])
            headed = True
        values = [["" if one != one else one for one in column.tolist()] for _, column, _, _ in columns]  # noqa: PLR0124
        rows.writerows(zip(*values, strict=True))

    yield write
    text.detach()


def _parquet_rows(stream: Any, arrow: Any) -> Iterator[Callable[[Table], None]]:
    """A writer of tables into one Parquet file, zstd, with unit and meaning of each column."""
    writer = None

    def write(table: Table) -> None:
        nonlocal writer
        columns = list(table.columns())
        fields = [
            arrow.field(name, arrow.from_numpy_dtype(values.dtype), metadata={"unit": unit, "meaning": meaning})
            for name, values, unit, meaning in columns
        ]
        schema = arrow.schema(fields, metadata={"source": "simulated"})
        if writer is None:
            writer = arrow.parquet.ParquetWriter(stream, schema, compression="zstd")
        writer.write_table(arrow.table([arrow.array(values) for _, values, _, _ in columns], schema=schema))

    yield write
    if writer is not None:
        writer.close()
