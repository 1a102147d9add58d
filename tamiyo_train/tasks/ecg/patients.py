"""Patients, each with a heart, a chest and electrodes of their own. Patient 7 is the same in a group of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.ecg.model import HEIGHT, PLACE, WIDTH

Floats = NDArray[np.float64]
SEED = 30
_PATIENT, STRIP = range(2)
"""First part of a generator's address: a patient, or one of a patient's strips."""

TYPICAL = np.array(
    [
        # height (mV), place (s), width (s)
        [0.25, -0.167, 0.040],  # P
        [-0.167, -0.042, 0.016],  # Q
        [1.0, 0.0, 0.016],  # R
        [-0.25, 0.042, 0.016],  # S
        [0.0, 0.085, 0.018],  # R'
        [0.0, 0.120, 0.045],  # ST
        [0.4, 0.250, 0.064],  # T
    ]
)
"""The waves of table I of the model's paper at 60 beats a minute, with R as 1 mV; R' and ST are flat."""
_SPREAD = np.array([0.30, 0.08, 0.15])
"""Standard deviation of the logarithm of a wave's height, place and width from patient to patient."""

_SWAPPED = 0.3
"""Share of the patients whose electrodes are swapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One patient. ``waves``: (7, 3) of a normal beat at 60 a minute; ``interval_s``: R to R at rest.

    ``variability``: standard deviation of an interval over itself. Noise: standard deviations of white and muscle
    noise, heights of mains hum (50 Hz) and of the breathing baseline, all in mV. ``swapped``: the electrodes are
    the other way round, so that everything is upside down.
    """

    number: int
    waves: Floats
    interval_s: float
    variability: float
    white_mv: float
    muscle_mv: float
    hum_mv: float
    breathing_mv: float
    breathing_hz: float
    swapped: bool


def patient(number: int, *, seed: int = SEED) -> Patient:
    """The patient of that number."""
    rng = np.random.default_rng([seed, _PATIENT, number])
    waves = TYPICAL * np.exp(_SPREAD * rng.normal(0, 1, TYPICAL.shape).clip(-2.5, 2.5))
    waves[:, HEIGHT] *= np.exp(rng.normal(0, 0.25))  # how far the heart is from the electrodes
    return Patient(
        number=number,
        waves=waves,
        interval_s=60 / rng.uniform(58, 92),
        variability=rng.uniform(0.01, 0.04),
        white_mv=rng.uniform(0.01, 0.05),
        muscle_mv=rng.uniform(0.0, 0.08),
        hum_mv=rng.uniform(0.0, 0.06),
        breathing_mv=rng.uniform(0.05, 0.4),
        breathing_hz=rng.uniform(0.18, 0.33),
        swapped=bool(rng.uniform() < _SWAPPED),
    )


def generator_of(number: int, kind: int, strip: int, *, seed: int = SEED) -> np.random.Generator:
    """The generator of one of a patient's strips of one kind."""
    return np.random.default_rng([seed, STRIP, number, kind, strip])


def at_rate(waves: Floats, interval_s: Floats) -> Floats:
    """Waves (..., 7, 3) at other intervals (...): T and ST scale with the interval's root in time (Bazett)."""
    scaled = waves.copy()
    root = np.sqrt(interval_s)[..., None]
    scaled[..., -2:, PLACE] *= root
    scaled[..., -2:, WIDTH] *= root
    return scaled
