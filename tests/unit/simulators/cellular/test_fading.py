from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cellular.fading import BLOCK, Outages, correlation, gauss_markov
from simulators.cellular.streams import keys, mixed, normals, uniforms, words, words_at

STEPS = 1 << 18


def draws(seed: int, count: int = STEPS, devices: int = 1) -> np.ndarray:
    return uniforms(words(keys(seed, 0, np.arange(devices)), 0, count))[0]


# p and r a second: SIGCOMM 2021 and 2022 artifacts, 1 s steps below 1 Mb/s; the third, a published test of the chain
@pytest.mark.parametrize(
    ("begins", "ends", "share", "mean_steps"),
    [(0.0119, 0.46, 0.0252, 2.17), (0.0044, 0.38, 0.0114, 2.63), (0.01, 0.3, 0.03226, 3.333)],
    ids=["5g", "lte", "closed form"],
)
def test_outages_are_as_frequent_and_as_long_as_the_closed_form(
    begins: float, ends: float, share: float, mean_steps: float
) -> None:
    chain = Outages(begins=begins, ends=ends)
    assert chain.share == pytest.approx(share, rel=0.01)
    assert chain.mean_steps == pytest.approx(mean_steps, rel=0.01)
    bad = chain.run(draws(3, count=STEPS // 16, devices=64), np.zeros(64, bool)).astype(float)
    starts = (np.diff(bad, axis=1) == 1).sum(axis=1)
    assert_within_3_errors(bad.mean(axis=1), share)
    assert_within_3_errors(bad.sum(axis=1) / starts, mean_steps)
    tail = bad - chain.share
    for lag in (1, 2, 5):
        correlated = (tail[:, lag:] * tail[:, :-lag]).mean(axis=1) / (chain.share * (1 - chain.share))
        assert_within_3_errors(correlated, (1 - begins - ends) ** lag)


def assert_within_3_errors(values: np.ndarray, expected: float) -> None:
    """The mean of independent values, by its own standard error; figures as published have three digits."""
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert values.mean() == pytest.approx(expected, abs=3 * error + 5e-4 * expected)


def test_a_chain_that_forgets_everything_is_a_coin() -> None:
    bad = Outages(begins=0.3, ends=0.7).run(draws(1), np.ones(1, bool))
    assert np.array_equal(bad, draws(1) < np.float32(0.3))


@given(st.floats(0, 0.6), st.floats(0.05, 0.4), st.integers(0, 2**64 - 1), st.booleans(), st.integers(1, 200))
def test_a_run_is_what_a_loop_gives(begins: float, ends: float, seed: int, before: bool, count: int) -> None:
    drawn = draws(seed, count)
    state, looped = before, []
    for uniform in drawn[0]:
        state = bool(uniform < np.float32(begins)) or (state and bool(uniform < np.float32(1 - ends)))
        looped.append(state)
    assert Outages(begins=begins, ends=ends).run(drawn, np.array([before]))[0].tolist() == looped


def test_shadowing_has_its_deviation_and_forgets_at_its_distance() -> None:
    rho = np.array([0.76, 0.89, 0.99], dtype=np.float32)
    innovation = normals(words(keys(1, 1, np.arange(3)), 0, STEPS))[0] * np.sqrt(1 - rho**2)[:, None] * 6
    shadow, last = gauss_markov(innovation, rho, np.zeros(3, np.float32))
    assert np.array_equal(last, shadow[:, -1])
    for device in range(3):
        one = shadow[device].astype(float)
        assert one.std() == pytest.approx(6.0, rel=0.05)
        for lag in (1, 5, 20):
            assert np.corrcoef(one[lag:], one[:-lag])[0, 1] == pytest.approx(rho[device] ** lag, abs=0.03)


@given(st.floats(0, 1), st.integers(0, 1000), st.integers(1, 4))
def test_a_scan_is_a_loop_up_to_rounding(rho: float, seed: int, blocks: int) -> None:
    innovation = normals(words(keys(seed, 1, np.arange(2)), 0, blocks * BLOCK))[0]
    value, looped = np.array([1.0, -2.0]), []
    for column in innovation.T:
        value = np.float32(rho) * value + column
        looped.append(value)
    scanned, _ = gauss_markov(innovation.copy(), np.full(2, rho, np.float32), np.array([1, -2], np.float32))
    assert pytest.approx(np.array(looped), abs=2e-3, rel=1e-4) == scanned.T


def test_a_device_that_stands_still_keeps_its_shadow() -> None:
    assert correlation(speed_m_s=0.0, step_s=1.0, distance_m=50.0) == 1.0
    # 1 s lag of log rate, walking: .76 on 5G, .89 on LTE (SIGCOMM artifacts)
    assert correlation(speed_m_s=1.4, step_s=1.0, distance_m=5.1) == pytest.approx(0.76, abs=0.005)
    assert correlation(speed_m_s=1.4, step_s=1.0, distance_m=12.0) == pytest.approx(0.89, abs=0.005)


def test_words_are_splitmix64() -> None:
    # first outputs of the reference implementation from state 0
    assert [mixed(n * 0x9E3779B97F4A7C15) for n in (1, 2, 3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_a_word_depends_on_its_place_alone() -> None:
    starts = keys(7, 2, np.array([5, 9]))
    whole = words(starts, 0, 1000)
    assert np.array_equal(words(starts[1:], 300, 17)[0], whole[1, 300:317])
    assert words_at(starts, np.array([4, 999])).tolist() == [whole[0, 4], whole[1, 999]]
    assert keys(7, 2, np.array([9]))[0] == starts[1]
    assert len({int(keys(seed, purpose, np.array([0]))[0]) for seed in range(50) for purpose in range(6)}) == 300


def test_draws_are_uniform_normal_and_independent() -> None:
    drawn = words(keys(11, 0, np.arange(4)), 0, STEPS)
    for uniform in uniforms(drawn):
        assert 0 <= uniform.min() < 1e-4 < 1 - 1e-4 < uniform.max() < 1
        counts = np.histogram(uniform, 64, (0, 1))[0]
        expected = uniform.size / 64
        assert ((counts - expected) ** 2 / expected).sum() < 130  # chi-square of 63: 1e-6
    one, two = normals(drawn)
    for normal in (one, two):
        assert normal.mean() == pytest.approx(0, abs=0.005)
        assert normal.std() == pytest.approx(1, abs=0.005)
        assert (np.abs(normal) < 1.959964).mean() == pytest.approx(0.95, abs=0.002)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] == pytest.approx(0, abs=0.005)
    assert np.corrcoef(one[0], one[1])[0, 1] == pytest.approx(0, abs=0.01)
    assert np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1] == pytest.approx(0, abs=0.005)


def test_bad_numbers_are_refused_with_the_legal_ones() -> None:
    for begins, ends in ((-0.1, 0.5), (0.1, 0.0), (0.6, 0.6), (0.1, 1.5)):
        with pytest.raises(ValueError, match="begins \\+ ends <= 1"):
            Outages(begins=begins, ends=ends)
    for wrong in ({"speed_m_s": -1.0}, {"step_s": 0.0}, {"distance_m": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            correlation(**{"speed_m_s": 1.0, "step_s": 1.0, "distance_m": 1.0, **wrong})
