"""Where devices stand: by the seed, by a pattern, or as a file says."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from simulators.fleet.complaints import at
from simulators.fleet.parts import Placement, PlacementKind
from simulators.fleet.scenario import Scenario
from simulators.lorawan.streams import Floats, Ints, Purpose, uniforms
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import read_bytes

_LIMIT_BYTES = 1 << 30
_COLUMNS = ("x_m", "y_m")


def positions(placement: Placement, numbers: Ints, *, seed: int) -> tuple[Floats, Floats]:
    """Coordinates of devices by number, m: east and north of the origin.

    Discs and rings are filled evenly, each device by its own draw; a grid is as square as the count allows, filled row
    by row from its south-west. Raises InputError for a file that cannot be used or has too few rows.
    """
    x: Floats
    y: Floats
    if placement.kind is PlacementKind.FILE:
        x, y = _read(Path(placement.file or ""), numbers.size)
    elif placement.kind is PlacementKind.GRID:
        columns = math.ceil(math.sqrt(numbers.size))
        rows = math.ceil(numbers.size / columns)
        row, column = np.divmod(np.arange(numbers.size), columns)
        x = np.asarray((placement.spacing_m or 0.0) * (column - (columns - 1) / 2), dtype=np.float64)
        y = np.asarray((placement.spacing_m or 0.0) * (row - (rows - 1) / 2), dtype=np.float64)
    else:
        inner_m, outer_m = placement.inner_m or 0.0, placement.radius_m or 0.0
        one, two = uniforms(seed, Purpose.PLACE, numbers, 0)
        radius, angle = np.sqrt(inner_m**2 + one * (outer_m**2 - inner_m**2)), 2.0 * np.pi * two
        x, y = radius * np.cos(angle), radius * np.sin(angle)
    return x + placement.x_m, y + placement.y_m


def placed(scenario: Scenario, number: int, *, seed: int | None = None) -> tuple[Floats, Floats]:
    """`positions` of a group that has a placement, by the scenario's seed or another.

    Raises SchemaError, with the key that names the file, for one that cannot be used.
    """
    placement = scenario.devices[number].placement
    assert placement is not None
    with at(f"devices[{number}].placement.file"):
        return positions(placement, scenario.numbers_of(number), seed=scenario.seed if seed is None else seed)


def _read(path: Path, count: int) -> tuple[Floats, Floats]:
    raw = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="positions")
    try:
        rows = csv.reader(raw.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is not text: {exc}", hint="a CSV file with the columns x_m, y_m") from exc
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"{path}:1: no column {' or '.join(missing)}, there are {', '.join(header) or 'none'}",
            hint="the first line names the columns; x_m and y_m are needed",
        )
    places = [header.index(name) for name in _COLUMNS]
    found = []
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            x, y = (float(row[place]) for place in places)
        except (ValueError, IndexError):
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InputError(
                f"{path}:{line}: {','.join(row)[:60]!r} is no position", hint="two finite numbers, in metres"
            )
        found.append((x, y))
    if len(found) < count:
        raise InputError(
            f"{path} places {len(found)} devices, the group has {count}",
            hint="add rows" + (f", or lower count to {len(found)}" if found else ""),
        )
    columns = np.array(found[:count], dtype=np.float64).T
    return columns[0], columns[1]
