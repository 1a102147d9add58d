from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simulators.fleet.parts import Placement, PlacementKind
from simulators.fleet.placing import positions
from tamiyo_runtime.contracts.errors import InputError, SchemaError

NUMBERS = np.arange(4000)


def test_a_disc_and_a_ring_are_filled_evenly_by_area() -> None:
    x, y = positions(Placement(radius_m=1000.0, x_m=50.0, y_m=-20.0), NUMBERS, seed=1)
    radius = np.hypot(x - 50, y + 20)
    assert radius.max() <= 1000
    assert (radius <= 500).mean() == pytest.approx(0.25, abs=0.03)
    ring = Placement(kind=PlacementKind.RING, radius_m=1000.0, inner_m=800.0)
    radius = np.hypot(*positions(ring, NUMBERS, seed=1))
    assert 800 <= radius.min() <= radius.max() <= 1000
    assert (radius**2 <= (800**2 + 1000**2) / 2).mean() == pytest.approx(0.5, abs=0.03)


def test_a_device_keeps_its_place_whoever_else_there_is() -> None:
    disc = Placement(radius_m=1000.0)
    whole, some = positions(disc, NUMBERS, seed=1), positions(disc, NUMBERS[100:200], seed=1)
    assert np.array_equal(np.array(some), np.array(whole)[:, 100:200])
    assert not np.array_equal(np.array(positions(disc, NUMBERS, seed=2)), np.array(whole))


def test_a_grid_is_centred_with_neighbours_at_its_spacing() -> None:
    x, y = positions(Placement(kind=PlacementKind.GRID, spacing_m=10.0), np.arange(12), seed=0)
    assert sorted(set(x.tolist())) == [-15, -5, 5, 15]
    assert sorted(set(y.tolist())) == [-10, 0, 10]


def test_a_file_places_devices_by_the_columns_it_names(tmp_path: Path) -> None:
    path = tmp_path / "trees.csv"
    path.write_text("tree,y_m, x_m\na,1,2\n\nb,3.5,-4\nc,5,6\n")
    x, y = positions(Placement(kind=PlacementKind.FILE, file=str(path)), np.arange(2), seed=0)
    assert (x.tolist(), y.tolist()) == ([2, -4], [1, 3.5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x,y\n1,2\n", ":1: no column x_m or y_m"),
        ("", ":1: no column"),
        ("x_m,y_m\n1,2\n3,four\n", ":3: '3,four' is no position"),
        ("x_m,y_m\n1\n", ":2: '1' is no position"),
        ("x_m,y_m\n1,inf\n", ":2: '1,inf'"),
        ("x_m,y_m\n1,2\n", "places 1 devices, the group has 2"),
        ("\xff", "not text"),
    ],
)
def test_a_file_that_places_too_few_or_nobody_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "trees.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as refused:
        positions(Placement(kind=PlacementKind.FILE, file=str(path)), np.arange(2), seed=0)
    assert says in refused.value.message
    assert refused.value.hint


def test_a_ring_has_its_inner_radius_within_the_outer() -> None:
    with pytest.raises(SchemaError, match="inner_m"):
        Placement(kind=PlacementKind.RING, radius_m=10.0, inner_m=20.0)
