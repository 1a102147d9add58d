"""The heart as three coupled differential equations, after P. McSharry, G. Clifford, L. Tarassenko, L. Smith,
"A dynamical model for generating synthetic electrocardiogram signals", IEEE Trans. Biomed. Eng. 50(3), 2003.

    x' = (1 - |x, y|) x - w y      y' = (1 - |x, y|) y + w x      z' = -sum_i a_i d_i exp(-d_i^2 / 2 b_i^2) - (z - z0)

(x, y) is drawn to the unit circle and goes round once a beat; z is the potential, pushed and pulled where the phase
passes the angle of a wave, d_i = phase - theta_i. w is 2 pi over the present interval between R peaks; z0 breathes.

Waves are given as they are read off a strip: height (mV), place and width (s, from the R peak of their beat). In the
equations theta_i = w place, b_i = w width and a_i = height w / b_i^2: integrated, a wave is as high as was asked for.
Every beat has waves of its own, and between two R peaks those of both beats act: the model of the paper has one set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require

Floats = NDArray[np.float64]
WAVES = ("P", "Q", "R", "S", "R'", "ST", "T")
"""R' is the second peak of a block of the right bundle branch, ST the level between S and T; both are usually flat."""
HEIGHT, PLACE, WIDTH = range(3)
STEP_HZ = 256
"""Steps of the solver a second: at a heart rate of 180 the narrowest wave (0.01 s) still has five."""
_TOGETHER = 256
"""Strips integrated side by side: what a core's cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breathing:
    """z0 = height sin(2 pi rate t + phase) for M strips: (M,) mV, Hz and radians."""

    height_mv: Floats
    rate_hz: Floats
    phase: Floats


def integrate(intervals_s: Floats, waves: Floats, *, start_s: Floats, steps: int, breathing: Breathing) -> Floats:
    """Potentials (M, steps) in mV at `STEP_HZ`, from ``start_s`` (M,) after each strip's first R peak.

    ``intervals_s``: (M, K - 1) between the R peaks of K beats; ``waves``: (M, K, 7, 3) heights, places and widths.
    Fourth-order Runge-Kutta; intervals are rounded to whole steps. Raises SchemaError when a strip ends too early.
    """
    peaks = peaks_of(intervals_s)
    start = np.rint(start_s * STEP_HZ).astype(np.int64)
    require(bool((start >= 0).all()), "start_s", "must not lie before the first beat")
    require(bool((start + steps <= peaks[:, -1]).all()), "steps", "a strip ends before its last beat does")
    parts = [
        _integrate(
            peaks[part],
            waves[part],
            start[part],
            steps,
            Breathing(
                height_mv=breathing.height_mv[part], rate_hz=breathing.rate_hz[part], phase=breathing.phase[part]
            ),
        )
        for part in (slice(at, at + _TOGETHER) for at in range(0, len(peaks), _TOGETHER))
    ]
    return np.concatenate(parts)


def peaks_of(intervals_s: Floats) -> NDArray[np.int64]:
    """Steps (M, K) at which the R peaks lie, the first at 0."""
    whole = np.maximum(np.rint(intervals_s * STEP_HZ), 1).astype(np.int64)
    return np.concatenate([np.zeros((len(whole), 1), np.int64), whole.cumsum(axis=1)], axis=1)


def _integrate(
    peaks: NDArray[np.int64], waves: Floats, start: NDArray[np.int64], steps: int, breathing: Breathing
) -> Floats:
    strips = np.arange(len(peaks))
    speed = 2 * np.pi * STEP_HZ / np.diff(peaks)  # (M, K - 1) rad/s
    theta, sharpness, push = _angles(waves, speed)
    at = start[:, None] + np.arange(steps)
    segment = (peaks[:, :, None] <= at[:, None, :]).sum(axis=1) - 1
    dt = 1 / STEP_HZ

    now = segment[:, 0]
    phase = speed[strips, now] * (start - peaks[strips, now]) * dt
    away = phase[:, None] - theta[strips, now]
    state = np.stack(
        [np.cos(phase), np.sin(phase), _potential(away, sharpness[strips, now], push[strips, now], speed[strips, now])]
    )
    found = np.empty((len(peaks), steps))
    for step in range(steps):
        now = segment[:, step]
        at_work = _Work(
            speed=speed[strips, now],
            turned=speed[strips, now] * (at[:, step] - peaks[strips, now]) * dt,
            theta=theta[strips, now],
            sharpness=sharpness[strips, now],
            push=push[strips, now],
            time_s=at[:, step].astype(np.float64) * dt,
            breathing=breathing,
        )
        found[:, step] = state[2]
        first = _slope(state, at_work, 0.0)
        second = _slope(state + dt / 2 * first, at_work, dt / 2)
        third = _slope(state + dt / 2 * second, at_work, dt / 2)
        fourth = _slope(state + dt * third, at_work, dt)
        state = state + dt / 6 * (first + 2 * second + 2 * third + fourth)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is at work on M strips in one step: the present interval's speed, how far in it is, and its waves."""

    speed: Floats
    turned: Floats
    theta: Floats
    sharpness: Floats
    push: Floats
    time_s: Floats
    breathing: Breathing


def _slope(state: Floats, work: _Work, late_s: float) -> Floats:
    """The right-hand side, (3, M), ``late_s`` into the step."""
    x, y, z = state
    towards = 1 - np.hypot(x, y)
    turned = work.turned + work.speed * late_s
    # The angle of (x, y), in the turn that this interval is: it would jump where two intervals meet.
    phase = turned + np.remainder(np.arctan2(y, x) - turned + np.pi, 2 * np.pi) - np.pi
    away = phase[:, None] - work.theta
    pull = np.einsum("mw,mw,mw->m", work.push, away, np.exp(work.sharpness * away * away))
    angle = 2 * np.pi * work.breathing.rate_hz * (work.time_s + late_s) + work.breathing.phase
    z0 = work.breathing.height_mv * np.sin(angle)
    return np.stack([towards * x - work.speed * y, towards * y + work.speed * x, -pull - (z - z0)])


def _angles(waves: Floats, speed: Floats) -> tuple[Floats, Floats, Floats]:
    """theta, -1 / 2 b^2 and a of the 14 waves that act between each two R peaks: (M, K - 1, 14) each."""
    w = speed[:, :, None]
    both = np.concatenate([waves[:, :-1], waves[:, 1:]], axis=2)  # (M, K - 1, 14, 3)
    turn = np.repeat([0.0, 2 * np.pi], len(WAVES))
    width = w * both[..., WIDTH]
    return w * both[..., PLACE] + turn, -0.5 / width**2, both[..., HEIGHT] * w / width**2


def _potential(away: Floats, sharp: Floats, push: Floats, w: Floats) -> Floats:
    """Where z starts: what the waves add up to at that phase, so that nothing has to die away."""
    heights = push * (-0.5 / sharp) / w[:, None]
    result: Floats = (heights * np.exp(sharp * away * away)).sum(axis=1)
    return result
