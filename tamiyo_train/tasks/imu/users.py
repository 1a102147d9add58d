"""Users of a waist-worn sensor: how each walks, sits and wears it. User 7 is the same in a group of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SEED = 60
HARMONICS = 4
_USER, _WINDOW = range(2)
"""First part of a generator's address: a user, or one of a user's windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user. ``step_hz``: steps a second on the flat; ``bounce_g``: height of the vertical harmonics of the step.

    ``sway_g``: sideways, at half the step rate; ``swing_rad_s``: of pitch, roll and yaw; ``lean_rad``: of the trunk
    while standing and while sitting; ``mounting``: rotation (3, 3) from body to sensor. ``bias_g`` and
    ``bias_rad_s``: of the three axes; ``noise_g`` and ``noise_rad_s``: standard deviations; ``lost``: chance that a
    packet of samples does not arrive.
    """

    number: int
    step_hz: float
    bounce_g: Floats
    phases: Floats
    sway_g: float
    swing_rad_s: Floats
    lean_rad: tuple[float, float]
    mounting: Floats
    bias_g: Floats
    bias_rad_s: Floats
    noise_g: float
    noise_rad_s: float
    lost: float


def user(number: int, *, spread: float = 1.0, seed: int = SEED) -> User:
    """The user of that number; ``spread`` scales how differently users wear the sensor and hold themselves."""
    rng = np.random.default_rng([seed, _USER, number])
    return User(
        number=number,
        step_hz=rng.uniform(1.6, 2.2),
        bounce_g=np.array([0.28, 0.14, 0.07, 0.04]) * np.exp(rng.normal(0, 0.2, HARMONICS)),
        phases=rng.uniform(-0.6, 0.6, (3, HARMONICS)),
        sway_g=0.10 * np.exp(rng.normal(0, 0.3)),
        swing_rad_s=np.array([0.35, 0.25, 0.45]) * np.exp(rng.normal(0, 0.2, 3)),
        lean_rad=(spread * rng.normal(0.0, 0.06), -0.45 + spread * rng.normal(0, 0.12)),
        mounting=turned(*(spread * rng.normal(0, (0.10, 0.08, 0.25)))),
        bias_g=rng.normal(0, 0.02, 3),
        bias_rad_s=rng.normal(0, 0.02, 3),
        noise_g=rng.uniform(0.005, 0.02),
        noise_rad_s=rng.uniform(0.01, 0.04),
        lost=rng.uniform(0.0, 0.06),
    )


def generator_of(number: int, activity: int, window: int, *, seed: int = SEED) -> np.random.Generator:
    """The generator of one of a user's windows of one activity."""
    return np.random.default_rng([seed, _WINDOW, number, activity, window])


def turned(roll: float, pitch: float, yaw: float) -> Floats:
    """The rotation (3, 3) by yaw about z, then pitch about y, then roll about x, in radians."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    rotation: Floats = about_x @ about_y @ about_z
    return rotation
