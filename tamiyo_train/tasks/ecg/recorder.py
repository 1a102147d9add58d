"""From potentials to what a recorder stores: electrodes, muscles and the mains add to them, then come numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.ecg.model import STEP_HZ
from tamiyo_train.tasks.ecg.patients import Patient

Floats = NDArray[np.float64]
RATE_HZ = 128
LIMIT_MV = 2.56
"""Where the recorder saturates."""
STEP_MV = 0.005
"""Of its converter: 200 units a millivolt, as in the MIT-BIH recordings. It also levels what machines differ by."""
MAINS_HZ = 50.0


def recorded(
    potential_mv: Floats, patient: Patient, *, fibrillation_mv: float, noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Potentials at `STEP_HZ` as stored at `RATE_HZ`: (T,) mV. ``noise`` scales all that does not come from the heart.

    Muscle noise is white noise less its mean over five samples, so without slow parts; atria that fibrillate add a wave
    of 4 to 8 Hz whose rate wanders.
    """
    clean = potential_mv[:: STEP_HZ // RATE_HZ]
    time_s = np.arange(len(clean)) / RATE_HZ
    white, fast = rng.normal(0, 1, (2, len(clean)))
    muscle = fast - np.convolve(fast, np.ones(5) / 5, mode="same")
    hum = np.sin(2 * np.pi * (MAINS_HZ * time_s + rng.uniform()))
    atria_hz = rng.uniform(4, 8) * (1 + 0.15 * np.sin(2 * np.pi * (rng.uniform(0.2, 0.6) * time_s + rng.uniform())))
    atria = np.sin(2 * np.pi * (np.cumsum(atria_hz) / RATE_HZ + rng.uniform()))
    from_outside = patient.white_mv * white + patient.muscle_mv * muscle + patient.hum_mv * hum
    total = (-1 if patient.swapped else 1) * (clean + fibrillation_mv * atria) + noise * from_outside
    units: Floats = np.rint(total.clip(-LIMIT_MV, LIMIT_MV) / STEP_MV)
    return (units * STEP_MV).astype(np.float32)
