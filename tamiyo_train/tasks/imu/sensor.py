"""What a worn sensor makes of a motion: its own axes, bias, noise, limits, steps, and packets that do not arrive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.imu.users import User

Floats = NDArray[np.float64]
LIMITS = np.array([4.0] * 6)
"""Ranges: 4 g and 4 rad/s."""
STEPS = LIMITS / 2**12
"""Of the converter; they also level what machines differ by."""
PACKET = 8
"""Samples that are sent together, and lost together: what arrived last is then repeated."""


def sensed(
    force_g: Floats, rate_rad_s: Floats, user: User, *, noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Six channels (6, T) of a motion (T, 3) and (T, 3); ``noise`` scales noise, bias and loss."""
    length = len(force_g)
    clean = np.concatenate([force_g @ user.mounting.T, rate_rad_s @ user.mounting.T], axis=1)
    bias = np.concatenate([user.bias_g, user.bias_rad_s])
    deviation = np.repeat([user.noise_g, user.noise_rad_s], 3)
    total = clean + noise * (bias + deviation * rng.normal(0, 1, clean.shape))
    packets = -(-length // PACKET)
    lost = rng.uniform(0, 1, packets) < noise * user.lost
    lost[0] = False
    last = np.where(np.repeat(lost, PACKET)[:length], 0, np.arange(length))
    arrived = total[np.maximum.accumulate(last)]
    return (np.rint(arrived.clip(-LIMITS, LIMITS) / STEPS) * STEPS).T.astype(np.float32)
