"""Kinds of beats: what becomes of a patient's normal waves, with the ranges that parameters are drawn from.

Heights of abnormal waves are relative to the patient's R peak unless they say otherwise; places and widths are in
seconds. Sources for the ranges are the usual definitions: a wide QRS lasts 0.12 s or more, a premature ventricular beat
has no P wave and a T wave against its QRS, a left bundle branch block has a broad notched R without Q and an inverted
T, a right one a second R peak (rsR'), and ST levels count from 0.1 mV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.ecg.model import HEIGHT, PLACE, WAVES

Floats = NDArray[np.float64]
P, Q, R, S, R2, ST, T = range(len(WAVES))


def normal(waves: Floats, rng: np.random.Generator) -> Floats:
    """As the patient's always are."""
    return waves


def premature_ventricular(waves: Floats, rng: np.random.Generator) -> Floats:
    """Starts in a ventricle: no P or Q, a tall broad R, a deep S and a T the other way."""
    tall = waves[R, HEIGHT]
    waves[[P, Q], HEIGHT] = 0
    waves[R] = tall * rng.uniform(1.0, 1.6), 0.0, rng.uniform(0.032, 0.045)
    waves[S] = -tall * rng.uniform(0.3, 0.7), rng.uniform(0.10, 0.13), rng.uniform(0.03, 0.04)
    waves[T, HEIGHT] = -tall * rng.uniform(0.25, 0.5)
    waves[T, PLACE] *= 1.15
    return waves


def premature_atrial(waves: Floats, rng: np.random.Generator) -> Floats:
    """Starts elsewhere in the atria: a small or inverted P that lies closer, the rest as ever."""
    waves[P, HEIGHT] *= rng.uniform(-0.8, 0.4)
    waves[P, PLACE] *= rng.uniform(0.7, 0.9)
    return waves


def left_bundle_block(waves: Floats, rng: np.random.Generator) -> Floats:
    """A broad notched R: two peaks 0.05 to 0.07 s apart; no Q or S, T inverted."""
    tall = waves[R, HEIGHT]
    waves[[Q, S], HEIGHT] = 0
    waves[R] = tall * rng.uniform(0.7, 0.95), 0.0, rng.uniform(0.022, 0.028)
    waves[R2] = tall * rng.uniform(0.7, 1.0), rng.uniform(0.05, 0.07), rng.uniform(0.024, 0.03)
    waves[T, HEIGHT] *= -rng.uniform(0.5, 1.0)
    return waves


def right_bundle_block(waves: Floats, rng: np.random.Generator) -> Floats:
    """A second, later and broader R peak behind a deep S."""
    tall = waves[R, HEIGHT]
    waves[R, HEIGHT] *= rng.uniform(0.6, 0.9)
    waves[S, HEIGHT] *= rng.uniform(1.0, 2.0)
    waves[R2] = tall * rng.uniform(0.4, 0.8), rng.uniform(0.08, 0.10), rng.uniform(0.018, 0.024)
    return waves


def without_p(waves: Floats, rng: np.random.Generator) -> Floats:
    """The atria fibrillate: no P wave."""
    waves[P, HEIGHT] = 0
    return waves


def st_raised(waves: Floats, rng: np.random.Generator) -> Floats:
    """ST 0.12 to 0.35 mV above the baseline."""
    waves[ST, HEIGHT] = rng.uniform(0.12, 0.35)
    return waves


def st_lowered(waves: Floats, rng: np.random.Generator) -> Floats:
    """ST 0.12 to 0.3 mV below it."""
    waves[ST, HEIGHT] = -rng.uniform(0.12, 0.3)
    return waves


def late_conduction(waves: Floats, rng: np.random.Generator) -> Floats:
    """First-degree block: the P wave comes 0.08 to 0.16 s earlier before its R, beyond 0.2 s in all."""
    waves[P, PLACE] -= rng.uniform(0.08, 0.16)
    return waves


def t_inverted(waves: Floats, rng: np.random.Generator) -> Floats:
    """T the other way, at 0.3 to 0.9 of its height."""
    waves[T, HEIGHT] *= -rng.uniform(0.3, 0.9)
    return waves


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A kind of beat. ``coupling``: range of the interval before it over the usual one.

    ``pause``: the interval behind it over the usual one; None when both together are two usual ones, as behind a
    ventricular beat that the sinus node takes no notice of.
    """

    change: Callable[[Floats, np.random.Generator], Floats]
    coupling: tuple[float, float] = (1.0, 1.0)
    pause: float | None = 1.0


NORMAL = Beat(change=normal)
PVC = Beat(change=premature_ventricular, coupling=(0.6, 0.75), pause=None)
PAC = Beat(change=premature_atrial, coupling=(0.6, 0.78), pause=1.08)
