"""A CSV file with a header, one sample a line: numbers, and a column ``label`` (or class, y, target) with its class.

Optional columns: ``group`` says whom a sample comes from (a group is in one split only), ``split`` where it belongs
(train, gate, score or test). Without either, samples are split by class. All columns share one scale.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.base import Split, Task, stratified
from tamiyo_train.tasks.files.base import SEED, SHARES, Format, check_classes, formats, spec_for, task_by_group
from tamiyo_train.tasks.grouped import SPLITS

_LIMIT_BYTES = 512 << 20
_LABELS = ("label", "class", "y", "target")
_GROUP, _SPLIT = "group", "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    x: NDArray[np.float32]
    labels: list[str]
    groups: list[str] | None
    splits: list[str] | None
    lines: list[int]


def _parse(path: Path) -> _Table:
    text = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="CSV file").decode("utf-8-sig", "replace")
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [name.strip().lower() for name in next(reader, [])]
    label = next((header.index(name) for name in _LABELS if name in header), None)
    if label is None:
        raise InputError(
            f"{path}, line 1: no column is called {', '.join(_LABELS)}", hint="name the column with the class"
        )
    named = {name: header.index(name) for name in (_GROUP, _SPLIT) if name in header}
    values = [column for column in range(len(header)) if column not in {label, *named.values()}]
    if not values:
        raise InputError(f"{path}, line 1: there is no column but '{header[label]}'", hint="one column a number")
    x, labels, others, lines = [], [], [], []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(header):
            raise InputError(
                f"{where}: {len(row)} columns, the header has {len(header)}", hint="mend or remove the line"
            )
        try:
            numbers = [float(row[column]) for column in values]
        except ValueError:
            raise InputError(f"{where}: it holds something that is no number", hint="mend or remove the line") from None
        if not np.isfinite(numbers).all():
            raise InputError(
                f"{where}: NaN or infinity in column '{header[values[_first_flaw(numbers)]]}'", hint="mend it"
            )
        if named.get(_SPLIT) is not None and row[named[_SPLIT]].strip() not in SPLITS:
            raise InputError(f"{where}: '{row[named[_SPLIT]][:40]}' is no split", hint=f"one of {', '.join(SPLITS)}")
        x.append(numbers)
        labels.append(row[label].strip())
        others.append({name: row[column].strip() for name, column in named.items()})
        lines.append(reader.line_num)
    if not x:
        raise InputError(f"{path} holds no sample", hint="one sample a line below the header")
    return _Table(
        x=np.array(x, np.float32),
        labels=labels,
        groups=[other[_GROUP] for other in others] if _GROUP in named else None,
        splits=[other[_SPLIT] for other in others] if _SPLIT in named else None,
        lines=lines,
    )


def _first_flaw(numbers: list[float]) -> int:
    return int(np.flatnonzero(~np.isfinite(numbers))[0])


def read(path: Path) -> Task:
    """The file as a task on vectors."""
    table = _parse(path)
    classes = tuple(sorted(set(table.labels)))
    y = np.array([classes.index(label) for label in table.labels], np.int64)
    owners, members = _owners(path, table, y, classes)
    return task_by_group(
        "csv",
        path,
        Split(x=table.x, y=y),
        owners,
        classes=classes,
        spec=spec_for(table.x, "D"),
        noun="line" if table.groups is None else "group",
        members=members,
    )


def _owners(
    path: Path, table: _Table, y: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[NDArray[np.int64], dict[str, list[int]] | None]:
    """Whom each sample comes from, by number, and where each of them belongs when that is known."""
    if table.groups is None:
        owners = np.arange(len(y))
        if table.splits is not None:
            return owners, {name: [k for k, split in enumerate(table.splits) if split == name] for name in SPLITS}
        try:
            check_classes(y, classes)
            parts = stratified(y, tuple(SHARES[name] for name in SPLITS), rng=np.random.default_rng(SEED))
        except InputError as exc:
            raise InputError(f"{path}: {exc.message}", hint=exc.hint) from exc
        return owners, {name: part.tolist() for name, part in zip(SPLITS, parts, strict=True)}
    names = sorted(set(table.groups))
    owners = np.array([names.index(group) for group in table.groups])
    if table.splits is None:
        return owners, None
    home: dict[str, str] = {}
    for group, split, line in zip(table.groups, table.splits, table.lines, strict=True):
        if home.setdefault(group, split) != split:
            raise InputError(
                f"{path}, line {line}: group {group} is in split '{home[group]}' and in split '{split}'",
                hint="a network would be tested on whom it was trained on: put each group on one side",
            )
    return owners, {name: [k for k, group in enumerate(names) if home[group] == name] for name in SPLITS}


CSV = Format(
    name="csv",
    what="a CSV file with a header and a column 'label'",
    looks_like=lambda path: path.is_file() and path.suffix.lower() == ".csv",
    read=read,
)
formats.register("csv")(CSV)
