"""The classes: what the trunk does, in the body's own axes (x ahead, y left, z up), before a sensor sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.imu.users import HARMONICS, User, turned

Floats = NDArray[np.float64]
RATE_HZ = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Gait:
    """A way to walk, relative to the user's on the flat, with the ranges that factors are drawn from.

    ``pace``: of the step rate; ``bounce``: of the vertical harmonics, low ones and high ones; ``swing``: of the pitch;
    ``ahead_rad``: how far the trunk leans forward; ``lag_rad``: how far the pitch lags behind the step.
    """

    pace: tuple[float, float]
    bounce: tuple[tuple[float, float], tuple[float, float]]
    swing: tuple[float, float]
    ahead_rad: tuple[float, float]
    lag_rad: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """A way to hold still. ``seated``: leans as the user does sitting; ``lying``: turned over by about 90 degrees."""

    seated: bool = False
    lying: bool = False


ACTIVITIES: Mapping[str, Gait | Posture] = MappingProxyType(
    {
        "walking": Gait(
            pace=(0.92, 1.08),
            bounce=((0.85, 1.15), (0.8, 1.2)),
            swing=(0.8, 1.2),
            ahead_rad=(-0.03, 0.06),
            lag_rad=(-0.3, 0.3),
        ),
        "upstairs": Gait(
            pace=(0.78, 0.98),
            bounce=((0.6, 1.0), (0.4, 0.9)),
            swing=(1.0, 1.6),
            ahead_rad=(0.04, 0.2),
            lag_rad=(0.8, 1.6),
        ),
        "downstairs": Gait(
            pace=(0.85, 1.1),
            bounce=((0.85, 1.3), (1.2, 2.0)),
            swing=(0.7, 1.3),
            ahead_rad=(-0.1, 0.06),
            lag_rad=(-1.6, -0.8),
        ),
        "sitting": Posture(seated=True),
        "standing": Posture(),
        "lying": Posture(lying=True),
    }
)


def motion(user: User, activity: Gait | Posture, length: int, *, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Specific force (length, 3) in g and angular rate (length, 3) in rad/s, in the axes of an upright body."""
    if isinstance(activity, Gait):
        return _walk(user, activity, length, rng)
    return _hold(user, activity, length, rng)


def _walk(user: User, gait: Gait, length: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Gravity and the harmonics of the step; sideways and about x and z the body goes at half the step's rate."""
    rate = user.step_hz * rng.uniform(*gait.pace)
    drift = 1 + 0.03 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * np.arange(length) / RATE_HZ + rng.uniform()))
    phase = 2 * np.pi * (np.cumsum(rate * drift) / RATE_HZ + rng.uniform())
    order = np.arange(1, HARMONICS + 1)
    low, high = (rng.uniform(*bounds) for bounds in gait.bounce)
    heights = user.bounce_g * np.where(order == 1, low, high) * (rate / user.step_hz) ** 2
    waves = np.cos(phase[:, None] * order + user.phases[0])
    up = 1 + waves @ heights
    ahead = 0.5 * np.sin(phase[:, None] * order + user.phases[1]) @ heights
    aside = user.sway_g * np.sin(phase / 2 + user.phases[2, 0])
    pitch, roll, yaw = user.swing_rad_s
    turning = np.stack(
        [
            roll * np.sin(phase / 2 + user.phases[2, 1]),
            pitch * rng.uniform(*gait.swing) * np.sin(phase + user.phases[2, 2] - rng.uniform(*gait.lag_rad)),
            yaw * np.cos(phase / 2 + user.phases[2, 3]),
        ],
        axis=1,
    )
    lean = turned(0.0, -(rng.uniform(*gait.ahead_rad) + user.lean_rad[0]), 0.0)
    return np.stack([ahead, aside, up], axis=1) @ lean.T, turning @ lean.T


def _hold(user: User, posture: Posture, length: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Gravity from where the trunk is, breathing and a sway of a hundredth of a g."""
    lean = user.lean_rad[posture.seated] + rng.normal(0, 0.05)
    if posture.lying:
        side = rng.choice([0.0, 0.0, -np.pi / 2, np.pi / 2]) + rng.normal(0, 0.2)
        held = turned(side, np.pi / 2 + rng.normal(0, 0.15), 0.0)
    else:
        held = turned(rng.normal(0, 0.04), -lean, 0.0)
    time_s = np.arange(length) / RATE_HZ
    breath = np.sin(2 * np.pi * (rng.uniform(0.2, 0.35) * time_s + rng.uniform()))
    unrest = 0.004 if posture.lying or posture.seated else 0.008
    sway = np.cumsum(rng.normal(0, unrest / 5, (length, 3)), axis=0)
    force = np.array([0.0, 0.0, 1.0]) + 0.006 * breath[:, None] * np.array([1.0, 0.0, 0.3]) + sway - sway.mean(axis=0)
    return force @ held.T, rng.normal(0, 2 * unrest, (length, 3))
