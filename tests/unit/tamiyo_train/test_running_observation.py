"""The observation of a running device: what the policy is taught on is what it will see."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.observation import observation_size
from tamiyo_runtime.contracts.running import RATIO_LIMIT, RunningState, running_features, running_vector

STATE = RunningState(
    present=(True, False),
    on=(True, False),
    contributions=(0.1, 0.0),
    relative_params=(2.0, 0.0),
    relative_macs=(3.0, 0.0),
    seed_latency_ms=(1.0, 0.0),
    host_latency_ms=2.0,
    full_latency_ms=3.0,
    current_latency_ms=3.0,
    deadline_ms=10.0,
    slowdown=2.0,
    bucket_level=0.5,
    power_budget_mw=100.0,
    host_power_mw=20.0,
    full_power_mw=30.0,
    accuracy=0.9,
    profile={"profile_log10_active_mw": 3.0, "something_else": 1.0},
)


def test_the_board_s_slowdown_scales_latency_and_power():
    features, slots = running_features(STATE)
    assert features["latency_left"] == pytest.approx(1 - 6 / 10)
    assert features["full_latency_ratio"] == pytest.approx(0.6)
    assert features["host_latency_ratio"] == pytest.approx(0.4)
    assert features["full_power_ratio"] == pytest.approx(0.6)
    assert features["host_power_ratio"] == pytest.approx(0.4)
    assert features["throttle_log2"] == 1.0
    assert features["energy_left"] == 0.5
    assert features["running"] == 1.0
    assert slots[0]["relative_latency"] == pytest.approx(0.2)
    assert slots[0]["alpha"] == 1.0
    assert slots[1] == {"is_free": 1.0, "budget_left": 1.0, "depth": 1.0}


def test_profile_features_the_policy_does_not_know_are_left_out():
    features, _ = running_features(STATE)
    assert features["profile_log10_active_mw"] == 3.0
    assert "something_else" not in features


def test_without_limits_nothing_is_used_of_them():
    features, _ = running_features(replace(STATE, deadline_ms=None, power_budget_mw=None, bucket_level=1.0))
    assert features["latency_left"] == 1.0
    assert features["full_latency_ratio"] == features["full_power_ratio"] == 0.0


@given(st.floats(1e-3, 1e6), st.floats(1e-6, 1e6), st.floats(0, 1))
def test_the_vector_is_always_finite_and_of_the_contracts_length(slowdown, deadline, level):
    vector = running_vector(replace(STATE, slowdown=slowdown, deadline_ms=deadline, bucket_level=level))
    assert len(vector) == observation_size(2)
    assert all(math.isfinite(value) and abs(value) <= RATIO_LIMIT for value in vector)


@pytest.mark.parametrize(
    "change",
    [
        {"on": (True, True)},
        {"on": (True,)},
        {"slowdown": 0.0},
        {"deadline_ms": -1.0},
        {"bucket_level": 1.5},
        {"host_latency_ms": math.nan},
        {"contributions": (math.nan, 0.0)},
    ],
)
def test_an_impossible_state_is_refused(change):
    with pytest.raises(SchemaError):
        replace(STATE, **change)
