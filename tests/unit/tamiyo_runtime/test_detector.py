"""The detector's promises: false alarms no more often than stated, on whatever events depend, and a bounded delay."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.reference import MAX_SAMPLES
from tamiyo_runtime.detector import Detector, at_odds, rate_bound

RATE = 0.05
MEAN_STEPS = 40.0
RUNS = 3000
rates = st.floats(1e-4, 0.9)


def _detector(rate: float = RATE, mean_steps: float = MEAN_STEPS) -> Detector:
    return Detector(rate, [at_odds(rate, 3.0), at_odds(rate, 30.0)], mean_steps=mean_steps)


def _steps_to_alarm(rate_after: Callable[[Detector, bool], float], *, seed: int, warm: int = 0) -> NDArray[np.int64]:
    """Of RUNS runs; ``rate_after`` may look at all that the detector knows."""
    random = np.random.default_rng(seed)
    counts = []
    for _ in range(RUNS):
        detector, event, steps = _detector(), False, 0
        for _ in range(warm):
            detector.observe(event=False)
        done = False
        while not done:
            event = bool(random.random() < rate_after(detector, event))
            done = detector.observe(event)
            steps += 1
        counts.append(steps)
    return np.array(counts)


def _mean_and_error(counts: NDArray[np.int64]) -> tuple[float, float]:
    return float(np.mean(counts)), float(np.std(counts) / math.sqrt(RUNS))


@pytest.mark.parametrize(
    "rate_after",
    [
        pytest.param(lambda detector, event: RATE, id="events at the stated rate"),
        pytest.param(lambda detector, event: RATE if event else RATE / 3, id="events in clusters"),
        pytest.param(
            lambda detector, event: RATE if detector.value > MEAN_STEPS / 10 else 0.0,
            id="an enemy who waits and strikes",
        ),
    ],
)
def test_false_alarms_come_no_more_often_than_stated_whatever_events_depend_on(
    rate_after: Callable[[Detector, bool], float],
) -> None:
    steps = _steps_to_alarm(rate_after, seed=1)
    mean, error = _mean_and_error(steps)
    assert mean + 3 * error >= MEAN_STEPS
    for early in (5, 10, 20):
        bound = early / MEAN_STEPS
        assert np.mean(steps <= early) <= bound + 3 * math.sqrt(bound * (1 - bound) / RUNS)


def test_the_same_simulation_tells_a_rate_that_is_too_high() -> None:
    mean, error = _mean_and_error(_steps_to_alarm(lambda detector, event: 4 * RATE, seed=1))
    assert mean + 3 * error < MEAN_STEPS


@given(rates, st.floats(0, 1), st.lists(st.booleans(), max_size=30))
def test_in_the_mean_the_value_grows_by_at_most_one_a_step_at_or_below_the_rate(
    rate: float, share: float, history: list[bool]
) -> None:
    outcomes = []
    for event in (True, False):
        detector = _detector(rate, mean_steps=1e300)
        for seen in history:
            detector.observe(seen)
        before = detector.value
        detector.observe(event)
        outcomes.append(detector.value)
    true_rate = rate * share
    assert true_rate * outcomes[0] + (1 - true_rate) * outcomes[1] <= (before + 1) * (1 + 1e-9)


@given(rates, st.floats(2, 50), st.lists(st.booleans(), min_size=1, max_size=200))
def test_the_value_is_that_of_ten_lines_of_numpy(rate: float, factor: float, events: list[bool]) -> None:
    other = at_odds(rate, factor)
    detector = Detector(rate, [other], mean_steps=1e300)
    for event in events:
        detector.observe(event)
    ratios = np.where(events, other / rate, (1 - other) / (1 - rate))
    products = [np.prod(ratios[start:]) for start in range(len(ratios))]  # a likelihood ratio a possible change point
    assert detector.value == pytest.approx(float(np.sum(products)), rel=1e-9)


@pytest.mark.parametrize("warm", [0, 500])
@pytest.mark.parametrize("factor", [5.0, 15.0])
def test_a_higher_rate_is_noticed_within_the_stated_mean_delay(factor: float, warm: int) -> None:
    mean, error = _mean_and_error(_steps_to_alarm(lambda detector, event: factor * RATE, seed=2, warm=warm))
    assert mean - 3 * error <= _detector().delay(factor * RATE) < math.inf


@given(rates, st.floats(1, 1e9))
def test_events_in_a_row_alarm_within_the_stated_delay(rate: float, mean_steps: float) -> None:
    detector = _detector(rate, mean_steps)
    bound = detector.delay(1.0)
    assume(bound < 1e4)
    steps = 1
    while not detector.observe(event=True):
        steps += 1
    assert steps <= bound + 1
    detector.reset()
    assert detector.value == 0.0


def test_no_delay_is_promised_for_a_rate_that_is_allowed() -> None:
    assert _detector().delay(RATE) == math.inf


def test_it_works_the_other_way_round_for_events_that_become_rarer() -> None:
    detector = Detector(0.2, [0.05], mean_steps=1000)
    steps = 1
    while not detector.observe(event=False):
        steps += 1
    assert steps <= detector.delay(0.0) + 1
    random = np.random.default_rng(3)
    detector.reset()
    assert not any(detector.observe(bool(random.random() < 0.3)) for _ in range(2000))


@pytest.mark.parametrize(
    ("rate", "others", "mean_steps"),
    [(0.0, [0.5], 10.0), (0.5, [1.0], 10.0), (0.5, [0.4, 0.6], 10.0), (0.5, [0.5], 10.0), (0.1, [0.5], 0.5)],
)
def test_rates_that_make_no_detector_are_refused(rate: float, others: list[float], mean_steps: float) -> None:
    with pytest.raises(SchemaError):
        Detector(rate, others, mean_steps=mean_steps)


@given(st.integers(2, 20_000), st.data(), st.floats(1e-6, 0.49))
def test_the_bound_on_the_rate_is_that_of_clopper_and_pearson(samples: int, data: st.DataObject, doubt: float) -> None:
    rank = data.draw(st.integers(1, samples - 1))
    assert rate_bound(rank, samples, doubt=doubt) == pytest.approx(
        beta.ppf(1 - doubt, rank, samples - rank + 1), rel=1e-6
    )


@pytest.mark.parametrize("digits", [1, 12])
def test_the_bound_holds_for_a_limit_chosen_on_the_samples_themselves_ties_or_not(digits: int) -> None:
    doubt, rank, samples, draws = 0.1, 3, 60, 4000
    values = np.random.default_rng(4).exponential(size=(draws, samples)).round(digits)
    limits = np.sort(values, axis=1)[:, rank - 1]
    steps = 10.0**-digits
    true_rates = 1 - np.exp(-np.maximum(limits - steps / 2, 0))  # of a rounded value strictly below the limit
    wrong = float(np.mean(true_rates > rate_bound(rank, samples, doubt=doubt)))
    assert wrong <= doubt + 3 * math.sqrt(doubt * (1 - doubt) / draws)


@pytest.mark.parametrize(("rank", "samples"), [(1, MAX_SAMPLES), (10**6, 10**7), (MAX_SAMPLES // 2, MAX_SAMPLES)])
def test_the_bound_for_the_largest_reference_is_right_as_well(rank: int, samples: int) -> None:
    exact = beta.ppf(0.99, rank, samples - rank + 1)
    assert rate_bound(rank, samples, doubt=0.01) == pytest.approx(exact, rel=1e-6)


def test_a_bound_needs_a_rank_among_the_samples_and_some_doubt() -> None:
    for rank, samples, doubt in ((0, 10, 0.1), (10, 10, 0.1), (1, 10, 0.0), (1, 10, 0.5)):
        with pytest.raises(SchemaError):
            rate_bound(rank, samples, doubt=doubt)
