"""The heart's equations: waves are where and what was asked for, and scipy's solver gives the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.tasks.ecg.model import HEIGHT, PLACE, STEP_HZ, WAVES, WIDTH, Breathing, integrate, peaks_of
from tamiyo_train.tasks.ecg.patients import TYPICAL


def breathing(strips: int, height: float = 0.0) -> Breathing:
    return Breathing(height_mv=np.full(strips, height), rate_hz=np.full(strips, 0.25), phase=np.full(strips, 0.7))


def beats(waves: np.ndarray, count: int) -> np.ndarray:
    return np.broadcast_to(waves, (1, count, *waves.shape)).copy()


@pytest.mark.parametrize("wave", range(len(WAVES)), ids=WAVES)
def test_a_wave_is_as_high_as_asked_for_where_it_was_asked_for(wave: int) -> None:
    alone = TYPICAL.copy()
    alone[:, HEIGHT] = 0
    alone[wave, HEIGHT] = 0.5
    # The baseline gives way by a wave's area a second, so a broad wave comes out a little lower.
    area = 0.5 * alone[wave, WIDTH] * np.sqrt(2 * np.pi)
    strip = integrate(
        np.full((1, 5), 0.9), beats(alone, 6), start_s=np.array([1.4]), steps=230, breathing=breathing(1)
    )[0]
    at = (strip.argmax() / STEP_HZ + 1.4 - 1.8) * 1.0
    assert at == pytest.approx(alone[wave, PLACE], abs=1.5 / STEP_HZ + 0.05 * alone[wave, WIDTH])
    assert strip.max() - strip[:20].mean() == pytest.approx(0.5, abs=0.01 + area)


def test_scipy_solves_the_equations_of_the_paper_to_the_same_potential() -> None:
    intervals, waves = np.array([[0.75, 0.75, 0.75, 0.75]]), beats(TYPICAL, 5)
    steps, start, w = 384, 0.75, 2 * np.pi / 0.75
    found = integrate(intervals, waves, start_s=np.array([start]), steps=steps, breathing=breathing(1, 0.15))[0]
    theta, b = w * TYPICAL[:, PLACE], w * TYPICAL[:, WIDTH]
    a = TYPICAL[:, HEIGHT] * w / b**2

    def slope(time: float, state: np.ndarray) -> list[float]:
        x, y, z = state
        away = np.remainder(np.arctan2(y, x) - theta + np.pi, 2 * np.pi) - np.pi
        z0 = 0.15 * np.sin(2 * np.pi * 0.25 * time + 0.7)
        grow = 1 - np.hypot(x, y)
        return [grow * x - w * y, grow * y + w * x, -(a * away * np.exp(-(away**2) / (2 * b**2))).sum() - (z - z0)]

    times = start + np.arange(steps) / STEP_HZ
    solved = solve_ivp(
        slope, (start, times[-1]), [1.0, 0.0, found[0]], t_eval=times, rtol=1e-9, atol=1e-11, max_step=0.002
    )
    assert np.abs(solved.y[2] - found).max() < 0.005


def test_a_strip_does_not_depend_on_those_beside_it() -> None:
    rng = np.random.default_rng(3)
    intervals, waves = (
        rng.uniform(0.5, 1.1, (300, 6)),
        np.tile(TYPICAL, (300, 7, 1, 1)) * rng.uniform(0.9, 1.1, (300, 7, 1, 1)),
    )
    start, breath = intervals[:, 0], breathing(300, 0.1)
    together = integrate(intervals, waves, start_s=start, steps=200, breathing=breath)
    alone = integrate(
        intervals[280:281], waves[280:281], start_s=start[280:281], steps=200, breathing=breathing(1, 0.1)
    )
    assert np.abs(together[280] - alone[0]).max() < 1e-12


def test_peaks_are_as_far_apart_as_asked_for() -> None:
    intervals = np.array([[0.5, 1.25, 0.75]])
    assert (peaks_of(intervals)[0] / STEP_HZ).tolist() == [0.0, 0.5, 1.75, 2.5]


def test_a_strip_that_ends_before_its_window_is_refused() -> None:
    with pytest.raises(SchemaError, match="ends before"):
        integrate(np.full((1, 2), 0.8), beats(TYPICAL, 3), start_s=np.array([1.0]), steps=512, breathing=breathing(1))
    with pytest.raises(SchemaError, match="before the first beat"):
        integrate(np.full((1, 2), 0.8), beats(TYPICAL, 3), start_s=np.array([-0.1]), steps=5, breathing=breathing(1))
