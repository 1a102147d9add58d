from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simulators.fleet.result import Devices, Fate, Gateways, Hours, Packets, Table


def empty_devices(count: int) -> Devices:
    kinds = {"Ints": np.int64, "Floats": np.float64, "Bools": np.bool_}
    return Devices(**{one.name: np.zeros(count, kinds[str(one.type)]) for one in dataclasses.fields(Devices)})


@pytest.mark.parametrize("table", [Devices, Hours, Gateways, Packets])
def test_every_column_says_its_unit_and_meaning(table: type[Table]) -> None:
    for one in dataclasses.fields(table):
        unit, meaning = one.metadata["unit"], one.metadata["meaning"]
        assert meaning
        suffix = {"s": "_s", "m": "_m", "ms": "_ms", "mJ": "_mj", "dB": "_db", "dBm": "_dbm", "d": "_days"}.get(unit)
        assert suffix is None or one.name.endswith(suffix), one.name


def test_every_fate_has_a_column_of_its_own() -> None:
    assert {fate.name.lower() for fate in Fate} <= {one.name for one in dataclasses.fields(Devices)}


def test_energy_and_violations_are_sums_of_columns() -> None:
    devices = dataclasses.replace(
        empty_devices(2),
        radio_sending_mj=np.array([1.0, 2.0]),
        board_sleep_mj=np.array([0.5, 0.25]),
        over_latency=np.array([True, False]),
        over_bytes=np.array([True, True]),
    )
    assert devices.energy_mj.tolist() == [1.5, 2.25]
    assert devices.violations.tolist() == [2, 1]
    assert len(devices) == 2
