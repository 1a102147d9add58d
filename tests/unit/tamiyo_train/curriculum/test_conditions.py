"""Conditions: which interval decides, and against what each bound was checked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.curriculum.conditions import (
    Condition,
    Evidence,
    Sense,
    Verdict,
    of_computed,
    of_rate,
    of_values,
    unmeasured,
)

AT_LEAST_99 = Condition(measure="accuracy", sense=Sense.AT_LEAST, bound=0.99)
AT_MOST_5 = Condition(measure="drift", sense=Sense.AT_MOST, bound=0.05)


def test_a_mean_above_the_bound_does_not_pass_while_its_lower_limit_is_below() -> None:
    evidence = of_values((0.985, 0.990, 0.995, 0.997, 0.993))
    assert evidence.estimate == pytest.approx(0.992)
    verdict = Verdict(condition=AT_LEAST_99, evidence=evidence)
    # Student's t, 4 degrees of freedom, one-sided 95 %: 2.1318; standard deviation .0046904
    assert verdict.deciding == pytest.approx(0.992 - 2.131847 * 0.004690416 / math.sqrt(5))
    assert not verdict.passed
    assert verdict.short_by == pytest.approx(0.99 - verdict.deciding)


def test_what_is_to_be_small_is_judged_by_its_upper_limit() -> None:
    assert Verdict(condition=AT_MOST_5, evidence=of_values((0.01, 0.012, 0.011, 0.013, 0.012))).passed
    wide = Verdict(condition=AT_MOST_5, evidence=of_values((0.01, 0.012, 0.011, 0.013, 0.15)))
    assert not wide.passed
    assert wide.evidence.estimate is not None and wide.evidence.estimate < 0.05


def test_149_faults_without_a_miss_show_98_percent_and_148_do_not() -> None:
    condition = Condition(measure="rollback", sense=Sense.AT_LEAST, bound=0.98)
    assert Verdict(condition=condition, evidence=of_rate(149, 149)).passed
    assert not Verdict(condition=condition, evidence=of_rate(148, 148)).passed


def test_one_network_proves_nothing() -> None:
    verdict = Verdict(condition=AT_LEAST_99, evidence=of_values((1.0,)))
    assert not verdict.passed
    assert verdict.short_by == math.inf


def test_what_was_not_measured_has_not_passed_and_says_why() -> None:
    verdict = Verdict(condition=AT_LEAST_99, evidence=unmeasured("no image"))
    assert (verdict.passed, verdict.short_by, verdict.evidence.note) == (False, None, "no image")


def test_figures_without_meaning_are_refused() -> None:
    with pytest.raises(SchemaError, match="no measurement"):
        of_computed(math.nan)
    with pytest.raises(SchemaError, match="a reason"):
        Evidence(estimate=None, low=None, high=None, count=0)
    with pytest.raises(SchemaError, match="is no bound"):
        Condition(measure="accuracy", sense=Sense.AT_LEAST, bound=math.inf)
    with pytest.raises(SchemaError, match="is no rate"):
        of_rate(3, 2)
    assert of_rate(0, 0).estimate is None
    assert of_values(()).estimate is None


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20), st.floats(-10, 10))
def test_the_interval_holds_the_mean_and_a_bound_is_met_from_one_side_at_a_time(
    values: list[float], bound: float
) -> None:
    evidence = of_values(tuple(values))
    assert evidence.low is not None and evidence.estimate is not None and evidence.high is not None
    assert evidence.low <= evidence.estimate <= evidence.high
    least, most = (Verdict(condition=Condition(measure="m", sense=s, bound=bound), evidence=evidence) for s in Sense)
    assert not (least.passed and most.passed) or evidence.low == evidence.high == bound
