from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cellular.pathloss import (
    Scenario,
    breakpoint_m,
    los_probability,
    path_loss_db,
    scenario,
    shadowing,
)

# TR 38.901 table 7.4.1-1 at 3.5 GHz, a device at 1.5 m; two independent implementations agree on every value.
# d2D m: UMi LOS, UMi NLOS, UMa LOS, UMa NLOS, RMa LOS, RMa NLOS
TABLE = {
    50: (79.09, 94.18, 77.21, 92.51, 79.15, 83.26),
    100: (85.31, 104.64, 83.14, 103.04, 84.20, 92.67),
    200: (91.61, 115.23, 89.57, 114.46, 90.15, 103.64),
    500: (107.11, 129.26, 98.27, 129.92, 98.61, 118.82),
    1000: (119.15, 139.89, 109.41, 141.67, 105.46, 130.42),
}
COLUMNS = [(where, los) for where in Scenario for los in (True, False)]
POINTS = [(d, where, los, TABLE[d][i]) for d in TABLE for i, (where, los) in enumerate(COLUMNS)]


@pytest.mark.parametrize(("distance_m", "where", "los", "loss_db"), POINTS)
def test_path_loss_is_that_of_the_table(distance_m: float, where: Scenario, los: bool, loss_db: float) -> None:
    assert float(path_loss_db(where, distance_m, 3.5, los=los)) == pytest.approx(loss_db, abs=0.01)


@pytest.mark.parametrize(
    ("where", "los", "loss_db"),
    [
        (Scenario.UMI, True, 103.38),
        (Scenario.UMI, False, 123.88),
        (Scenario.UMA, True, 101.20),
        (Scenario.UMA, False, 121.10),
    ],
)
def test_path_loss_at_28_ghz_and_100_m_is_that_of_the_table(where: Scenario, los: bool, loss_db: float) -> None:
    assert float(path_loss_db(where, 100, 28.0, los=los)) == pytest.approx(loss_db, abs=0.01)


@pytest.mark.parametrize("where", Scenario)
def test_line_of_sight_is_continuous_at_the_break_point(where: Scenario) -> None:
    turn_m = breakpoint_m(where, 0.7)
    near, far = path_loss_db(where, [turn_m * (1 - 1e-9), turn_m * (1 + 1e-9)], 0.7, los=True)
    # the slant distance, not the horizontal one, turns in RMa: less than a tenth of a decibel
    assert far == pytest.approx(near, abs=1e-6 if where is not Scenario.RMA else 0.1)


@given(st.sampled_from(Scenario), st.floats(10, 4900), st.floats(0.5, 30), st.booleans())
def test_loss_grows_with_distance_and_is_never_below_line_of_sight(
    where: Scenario, distance_m: float, frequency_ghz: float, los: bool
) -> None:
    here, further = path_loss_db(where, [distance_m, distance_m * 1.02], frequency_ghz, los=los)
    assert further > here - 0.1
    assert here >= path_loss_db(where, distance_m, frequency_ghz, los=True) - 1e-9


def test_the_chance_to_see_the_antenna_is_that_of_table_7_4_2() -> None:
    assert los_probability(Scenario.UMI, [0.0, 18.0]).tolist() == [1.0, 1.0]
    assert los_probability(Scenario.RMA, 10.0) == 1.0
    assert los_probability(Scenario.RMA, 1010.0) == pytest.approx(np.exp(-1))
    assert los_probability(Scenario.UMI, 100.0) == pytest.approx(0.18 + np.exp(-100 / 36) * 0.82)
    assert los_probability(Scenario.UMA, 100.0) == pytest.approx(0.18 + np.exp(-100 / 63) * 0.82)
    for where in Scenario:
        shares = los_probability(where, np.linspace(0, 5000, 500))
        assert bool((np.diff(shares) <= 1e-12).all())
        assert 0 < shares[-1] < 0.01


def test_shadowing_is_that_of_the_tables() -> None:
    assert shadowing(Scenario.UMI, 100, 3.5, los=True) == (4.0, 10.0)
    assert shadowing(Scenario.UMI, 100, 3.5, los=False) == (7.82, 13.0)
    assert shadowing(Scenario.UMA, 100, 3.5, los=True) == (4.0, 37.0)
    assert shadowing(Scenario.UMA, 100, 3.5, los=False) == (6.0, 50.0)
    assert shadowing(Scenario.RMA, 100, 0.7, los=True) == (4.0, 37.0)
    assert shadowing(Scenario.RMA, 5000, 0.7, los=True) == (6.0, 37.0)
    assert shadowing(Scenario.RMA, 100, 0.7, los=False) == (8.0, 120.0)


def test_what_the_report_does_not_cover_is_refused_with_its_range() -> None:
    with pytest.raises(ValueError, match=r"distance -5 m is not in 10\.\.5000 m"):
        path_loss_db(Scenario.UMA, -5, 3.5, los=True)
    with pytest.raises(ValueError, match=r"distance 6000 m is not in 10\.\.5000 m"):
        path_loss_db(Scenario.UMI, [100, 6000], 3.5, los=True)
    assert float(path_loss_db(Scenario.RMA, 9000, 0.8, los=True)) > float(
        path_loss_db(Scenario.RMA, 5000, 0.8, los=True)
    )
    with pytest.raises(ValueError, match=r"5001 m is not in 10\.\.5000 m, the range of rma without line of sight"):
        path_loss_db(Scenario.RMA, 5001, 0.8, los=False)
    with pytest.raises(ValueError, match=r"frequency 0\.1 GHz is not in 0\.5\.\.30 GHz"):
        path_loss_db(Scenario.RMA, 100, 0.1, los=True)
    with pytest.raises(ValueError, match="at least 0"):
        los_probability(Scenario.UMA, -1)
    with pytest.raises(ValueError, match="'city'; there are umi, uma, rma"):
        scenario("city")
    assert scenario("UMa") is Scenario.UMA
