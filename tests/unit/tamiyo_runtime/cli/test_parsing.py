"""Options that hold several values."""

from __future__ import annotations

import pytest

from tamiyo_runtime.cli.parsing import budget_schedule, changed_budget, throttle_phases
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError

ENERGY = Budget(latency_ms=5.0, power_mw=20.0, energy_burst_uj=4000.0, memory_bytes=9)


def test_throttle_phases_are_pairs_of_start_and_slowdown() -> None:
    assert throttle_phases("20:2.5,40:1") == [(20.0, 2.5), (40.0, 1.0)]
    assert throttle_phases(None) == []


@pytest.mark.parametrize("text", ["20", "20:fast", "a:2", "20:nan", "20:inf"])
def test_a_phase_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--throttle"):
        throttle_phases(text)


def test_given_limits_replace_the_bundles_and_zero_lifts_them() -> None:
    def change(**limits: float) -> Budget:
        return changed_budget(
            ENERGY,
            **{**dict.fromkeys(("latency_ms", "power_mw", "energy_burst_mj"), None), **limits},  # type: ignore[arg-type]  # a test's shorthand
        )

    assert change() == ENERGY
    assert change(latency_ms=2.0).latency_ms == 2.0
    assert change(latency_ms=0.0).latency_ms is None
    assert (change(power_mw=7.0).power_mw, change(power_mw=7.0).energy_burst_uj) == (7.0, 4000.0)
    assert change(energy_burst_mj=1.0).energy_burst_uj == 1000.0
    assert change(power_mw=0.0).energy_burst_uj is None
    with pytest.raises(UsageError, match="both its power and its burst"):
        changed_budget(Budget(), latency_ms=None, power_mw=3.0, energy_burst_mj=None)


def test_a_schedule_is_sorted_and_each_entry_changes_the_one_before() -> None:
    schedule = budget_schedule(["30:power-mw=5", "10:latency-ms=2,energy-burst-mj=1"], ENERGY)
    assert [(when, b.latency_ms, b.power_mw, b.energy_burst_uj) for when, b in schedule] == [
        (10.0, 2.0, 20.0, 1000.0),
        (30.0, 2.0, 5.0, 1000.0),
    ]
    assert schedule[-1][1].memory_bytes == 9


def test_an_unknown_limit_names_the_near_one() -> None:
    with pytest.raises(UnknownNameError) as caught:
        budget_schedule(["10:latency=2"], ENERGY)
    assert caught.value.near[0] == "latency-ms"
    for text in ("10", "10:", "x:latency-ms=2", "10:latency-ms=fast"):
        with pytest.raises(UsageError):
            budget_schedule([text], ENERGY)
