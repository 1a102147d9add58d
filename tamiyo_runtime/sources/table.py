"""A CSV file, one sample a row: ``samples.csv``, or ``csv:PATH?label=NAME``.

The columns, in order, are the sample's elements in C order. A first row without a single number is a header. A column
called label, class, y or target in the header holds the class, by its name or its number; ``label`` names
another one, ``label=last`` or ``first`` says which where there is no header, ``label=none`` that there is none.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
from tamiyo_runtime.files import read_bytes
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import Sample, sources
from tamiyo_runtime.sources.inbox import FlawError
from tamiyo_runtime.sources.lines import shaped

_LIMIT_BYTES = 256 << 20
_LABELS = ("label", "class", "y", "target")


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: list[str]


@sources.register("csv")
class TableSource:
    """All rows, read and checked."""

    def __init__(self, samples: Sequence[Sample], label: str) -> None:
        self.label = label
        self._samples = tuple(samples)

    @classmethod
    def open(cls, bundle: Bundle, address: Address) -> TableSource:
        """Read and check every row; raises InputError naming the first line that cannot be used."""
        address.only("label")
        path, manifest = Path(address.body), bundle.manifest
        header, rows = _read(path)
        column = _label_column(header, rows[0], address, math.prod(manifest.input.shape))
        samples = []
        for row in rows:
            cells = list(row.cells)
            label = None
            if column is not None and len(cells) > column:
                label = _class(cells.pop(column).strip(), manifest.classes, path, row.line)
            try:
                values = np.array([float(cell) for cell in cells])
                samples.append(Sample(shaped(values, manifest.input), label))
            except (FlawError, ValueError) as exc:
                why = exc.detail if isinstance(exc, FlawError) else "it holds something that is no number"
                raise InputError(f"{path}, line {row.line}: {why}", hint="mend or remove the line") from None
        return cls(samples, f"{path} ({len(samples)} samples)")

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)


def _read(path: Path) -> tuple[list[str] | None, list[_Row]]:
    """Header, if any, and rows that hold something."""
    text = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="CSV file").decode("utf-8-sig", "replace")
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        rows = [_Row(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as exc:
        raise InputError(f"{path}, line {reader.line_num}: {exc}", hint="save it as plain CSV") from exc
    header = None
    if rows and not any(_is_number(cell) for cell in rows[0].cells):
        header = [cell.strip() for cell in rows.pop(0).cells]
    if not rows:
        raise InputError(f"{path} holds no sample", hint="one sample a row, its numbers separated by commas")
    return header, rows


def _label_column(header: list[str] | None, row: _Row, address: Address, count: int) -> int | None:
    wanted, width = address.options.get("label"), len(row.cells)
    if wanted == "none":
        return None
    if wanted in {"first", "last"}:
        return 0 if wanted == "first" else width - 1
    if wanted is not None:
        if header is None or wanted not in header:
            raise UnknownNameError("column", wanted, [*(header or ()), "first", "last", "none"])
        return header.index(wanted)
    if header is not None:
        return next((index for index, name in enumerate(header) if name.lower() in _LABELS), None)
    if width == count + 1:
        raise InputError(
            f"{address.body} has {width} columns and no header, the bundle takes {count} numbers",
            hint=f"say which one is the class: --source 'csv:{address.body}?label=last'",
        )
    return None


def _class(text: str, classes: Sequence[str], path: Path, line: int) -> int | None:
    """A class by name, or by number, which 3.0 is as well; None where the cell is empty."""
    if not text:
        return None
    if text in classes:
        return classes.index(text)
    number = float(text) if _is_number(text) else math.nan
    if number in range(len(classes)):
        return int(number)
    raise InputError(f"{path}, line {line}: '{text}' is no class of the bundle", hint=f"classes: {', '.join(classes)}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
