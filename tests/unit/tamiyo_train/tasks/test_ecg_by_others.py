"""Our strips as others see them: NeuroKit2 finds the beats where they were put; a real recording is not unlike them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import pywt

from tamiyo_train.tasks.ecg.model import STEP_HZ, Breathing, integrate, peaks_of
from tamiyo_train.tasks.ecg.patients import generator_of, patient
from tamiyo_train.tasks.ecg.recorder import RATE_HZ, recorded
from tamiyo_train.tasks.ecg.rhythms import RHYTHMS, score

BEATS, START_S = 40, 0.5


def strip_of(number: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Half a minute of one patient, the right way up, and when its R peaks are (s)."""
    who, rng = patient(number), generator_of(number, list(RHYTHMS).index(name), 99)
    played = score(who, RHYTHMS[name], BEATS, centre=BEATS // 2, rng=rng)
    potential = integrate(
        played.intervals_s[None],
        played.waves[None],
        start_s=np.array([START_S]),
        steps=int((played.intervals_s[:-1].sum() - START_S) * STEP_HZ) - 2,
        breathing=Breathing(
            height_mv=np.array([who.breathing_mv]), rate_hz=np.array([who.breathing_hz]), phase=np.zeros(1)
        ),
    )[0]
    stored = recorded(potential, who, fibrillation_mv=played.fibrillation_mv, noise=1.0, rng=rng)
    return (-stored if who.swapped else stored), peaks_of(played.intervals_s[None])[0] / STEP_HZ - START_S


def detected(signal: np.ndarray, rate_hz: int) -> np.ndarray:
    """R peaks (s) by NeuroKit2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about pandas
        import neurokit2

        clean = neurokit2.ecg_clean(signal, sampling_rate=rate_hz)
        _, info = neurokit2.ecg_peaks(clean, sampling_rate=rate_hz)
    return np.asarray(info["ECG_R_Peaks"]) / rate_hz


@pytest.mark.parametrize("name", [name for name in RHYTHMS if name != "lbbb"])
def test_neurokit_finds_the_beats_where_they_were_put(name: str) -> None:
    """Not a left bundle branch block: its R has two peaks of about one height, and NeuroKit2 takes the other one."""
    for number in (0, 7, 11):
        signal, wanted = strip_of(number, name)
        found, end = detected(signal, RATE_HZ), len(signal) / RATE_HZ - 0.3
        inside = wanted[(wanted > 0.3) & (wanted < end)]
        distance = np.abs(found[None] - inside[:, None]).min(axis=1)
        assert np.mean(distance < 0.05) >= 0.95
        assert np.median(distance) <= 1 / RATE_HZ


@pytest.mark.parametrize(
    ("name", "tolerance"), [("normal", 0.01), ("tachycardia", 0.01), ("atrial fibrillation", 0.03)]
)
def test_neurokit_measures_the_intervals_that_were_asked_for(name: str, tolerance: float) -> None:
    for number in (0, 7, 11):
        signal, wanted = strip_of(number, name)
        found, inside = detected(signal, RATE_HZ), wanted[(wanted > 0.3) & (wanted < len(signal) / RATE_HZ - 0.3)]
        assert np.diff(found).mean() == pytest.approx(np.diff(inside).mean(), rel=0.02)
        assert np.diff(found).std() == pytest.approx(np.diff(inside).std(), abs=tolerance)


def test_a_real_recording_has_its_power_where_ours_have_it() -> None:
    """The 1,024 samples that PyWavelets bundles; their rate is not told, so frequencies are a share of the beat's."""
    real = pywt.data.ecg().astype(np.float64)
    beats = detected(real, 360)
    assert len(beats) >= 3
    ours, wanted = strip_of(7, "normal")

    def share_below(signal: np.ndarray, rate_hz: float, beat_s: float, harmonics: float) -> float:
        power = np.abs(np.fft.rfft(signal - np.median(signal))) ** 2
        return float(power[: int(harmonics / beat_s * len(signal) / rate_hz)].sum() / power.sum())

    for harmonics, least in ((15, 0.6), (40, 0.9)):
        both = (
            share_below(real, 360, float(np.diff(beats).mean()), harmonics),
            share_below(ours, RATE_HZ, float(np.diff(wanted).mean()), harmonics),
        )
        assert min(both) > least, both
