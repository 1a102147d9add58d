"""Figures worked out from what a device did."""

from __future__ import annotations

import math

import numpy as np

from simulators.fleet.detail.figures import overdraft_uj
from tamiyo_runtime.contracts.budget import Budget


def test_an_overdraft_is_how_far_the_bucket_goes_below_empty() -> None:
    budget = Budget(energy_burst_uj=100.0, power_mw=1.0)
    t_s, energy_uj = np.array([0.0, 0.01, 1.0]), np.array([60.0, 60.0, 50.0])
    assert math.isclose(overdraft_uj(budget, t_s, energy_uj), 10.0)
    assert overdraft_uj(budget, t_s, energy_uj / 2) == 0.0


def test_without_an_energy_budget_there_is_no_overdraft() -> None:
    assert math.isnan(overdraft_uj(Budget(latency_ms=5.0), np.array([0.0]), np.array([9.0])))
