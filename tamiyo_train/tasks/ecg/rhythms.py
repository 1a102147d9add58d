"""The classes: which beats follow each other, how fast and how evenly, round the beat that a window is centred on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.ecg import beats
from tamiyo_train.tasks.ecg.beats import NORMAL, PAC, PVC, Beat
from tamiyo_train.tasks.ecg.model import HEIGHT
from tamiyo_train.tasks.ecg.patients import Patient, at_rate

Floats = NDArray[np.float64]
_SHORTEST_S = 0.28
"""Between two R peaks: the ventricles cannot follow faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """A class. ``centre``: the beat in the middle; ``others``: the beats to both sides of it, in turn.

    ``rate``: beats a minute, the patient's own when None; ``uneven``: standard deviation of the logarithm of an
    interval, the patient's variability when None; ``fibrillation_mv``: height of the atria's 4 to 8 Hz wave.
    """

    centre: Beat = NORMAL
    others: tuple[Beat, ...] = (NORMAL,)
    rate: tuple[float, float] | None = None
    uneven: float | None = None
    fibrillation_mv: tuple[float, float] = (0.0, 0.0)


def _throughout(change: Beat) -> Rhythm:
    return Rhythm(centre=change, others=(change,))


_FIBRILLATING = Beat(change=beats.without_p)
RHYTHMS: Mapping[str, Rhythm] = MappingProxyType(
    {
        "normal": Rhythm(),
        "pvc": Rhythm(centre=PVC),
        "pac": Rhythm(centre=PAC),
        "lbbb": _throughout(Beat(change=beats.left_bundle_block)),
        "rbbb": _throughout(Beat(change=beats.right_bundle_block)),
        "atrial fibrillation": Rhythm(
            centre=_FIBRILLATING, others=(_FIBRILLATING,), rate=(70, 130), uneven=0.22, fibrillation_mv=(0.03, 0.09)
        ),
        "tachycardia": Rhythm(rate=(108, 160)),
        "bradycardia": Rhythm(rate=(34, 50)),
        "st elevation": _throughout(Beat(change=beats.st_raised)),
        "st depression": _throughout(Beat(change=beats.st_lowered)),
        "av block 1": _throughout(Beat(change=beats.late_conduction)),
        "bigeminy": Rhythm(others=(PVC, NORMAL)),
        "t inversion": _throughout(Beat(change=beats.t_inverted)),
    }
)
"""Bigeminy is centred on the normal beat between two ventricular ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a heart is to play: ``intervals_s`` (K - 1) between the R peaks of K beats, ``waves`` (K, 7, 3)."""

    intervals_s: Floats
    waves: Floats
    fibrillation_mv: float


def score(patient: Patient, rhythm: Rhythm, count: int, *, centre: int, rng: np.random.Generator) -> Score:
    """``count`` beats of a patient in a rhythm, number ``centre`` being its centre.

    What is abnormal is drawn once for a strip, so that its beats are alike; heights then vary by 3 % from beat to beat.
    """
    kinds = [
        rhythm.centre if beat == centre else rhythm.others[(abs(beat - centre) - 1) % len(rhythm.others)]
        for beat in range(count)
    ]
    usual = patient.interval_s if rhythm.rate is None else 60 / rng.uniform(*rhythm.rate)
    uneven = patient.variability if rhythm.uneven is None else rhythm.uneven
    stretch = np.exp(uneven * rng.normal(0, 1, count - 1))
    shapes, couplings = {}, {}
    for kind in dict.fromkeys((rhythm.centre, *rhythm.others)):
        shapes[kind] = kind.change(patient.waves.copy(), rng)
        couplings[kind] = rng.uniform(*kind.coupling)
    ratio = np.ones(count - 1)
    for beat, kind in enumerate(kinds):
        if beat > 0:
            ratio[beat - 1] *= couplings[kind]
        if beat < count - 1:
            ratio[beat] *= 2 - couplings[kind] if kind.pause is None else kind.pause
    intervals = np.maximum(usual * ratio * stretch, _SHORTEST_S)
    following = np.append(intervals, usual)
    waves = at_rate(np.stack([shapes[kind] for kind in kinds]), np.minimum(following, usual))
    waves[..., HEIGHT] *= np.exp(0.03 * rng.normal(0, 1, (count, 1)))
    return Score(intervals_s=intervals, waves=waves, fibrillation_mv=rng.uniform(*rhythm.fibrillation_mv))
