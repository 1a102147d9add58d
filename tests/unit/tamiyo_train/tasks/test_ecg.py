"""Stage 3: patients of their own, classes that show what they are named after, and no patient in two splits."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_train.tasks import stages
from tamiyo_train.tasks.base import Split
from tamiyo_train.tasks.ecg.beats import R2, ST, P, R, T
from tamiyo_train.tasks.ecg.model import HEIGHT, PLACE, WIDTH
from tamiyo_train.tasks.ecg.patients import generator_of, patient
from tamiyo_train.tasks.ecg.recorder import LIMIT_MV, RATE_HZ, STEP_MV, recorded
from tamiyo_train.tasks.ecg.rhythms import RHYTHMS, Score, score
from tamiyo_train.tasks.ecg.task import CLASSES, MEMBERS, WINDOWS, draw
from tamiyo_train.tasks.grouped import by_group, check_apart, dealt

PATIENTS = range(40)
CENTRE = 7


def played(name: str) -> list[Score]:
    """One strip of each of 40 patients."""
    kind = CLASSES.index(name)
    return [score(patient(p), RHYTHMS[name], 15, centre=CENTRE, rng=generator_of(p, kind, 0)) for p in PATIENTS]


def centre_waves(name: str) -> np.ndarray:
    return np.stack([strip.waves[CENTRE] for strip in played(name)])


def test_patient_seven_is_the_same_in_any_company() -> None:
    alone, _ = draw([7], windows=2)
    together, owners = draw([3, 7, 30], windows=2)
    assert np.array_equal(alone.x, together.x[owners == 7])
    more, _ = draw([7], windows=3)
    assert np.array_equal(alone.x[:2], more.x[:2])


def test_patients_differ_and_so_do_seeds() -> None:
    one, two = patient(1), patient(2)
    assert not np.allclose(one.waves, two.waves)
    assert not np.array_equal(draw([7], windows=1)[0].x, draw([7], windows=1, seed=31)[0].x)


def test_every_split_has_each_class_equally_often_and_patients_of_its_own() -> None:
    task = stages.get("ecg")()
    assert len(task.classes) == 13
    assert task.metric == "macro-auc"
    for name, split in task.splits().items():
        assert np.bincount(split.y).tolist() == [WINDOWS * len(MEMBERS[name])] * 13
        assert split.x.shape[1:] == task.input.shape == (1, 256)
    rows = [row.tobytes() for split in task.splits().values() for row in split.x]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("tachycardia", 100, 170), ("bradycardia", 32, 52), ("normal", 55, 98)]
)
def test_rates_are_those_of_the_definition(name: str, low: float, high: float) -> None:
    rates = np.array([60 / strip.intervals_s.mean() for strip in played(name)])
    assert low < rates.min() < rates.max() < high


def test_fibrillation_is_uneven_and_without_p_and_nothing_else_is() -> None:
    def unevenness(name: str) -> float:
        return float(np.mean([strip.intervals_s.std() / strip.intervals_s.mean() for strip in played(name)]))

    assert unevenness("atrial fibrillation") > 0.15
    assert unevenness("tachycardia") < 0.05
    assert not centre_waves("atrial fibrillation")[:, P, HEIGHT].any()
    assert all(strip.fibrillation_mv > 0.02 for strip in played("atrial fibrillation"))
    assert all(strip.fibrillation_mv == 0 for strip in played("normal"))


def test_a_first_degree_block_and_nothing_normal_conducts_later_than_two_tenths_of_a_second() -> None:
    def onset(name: str) -> np.ndarray:
        waves = centre_waves(name)[:, P]
        return -waves[:, PLACE] + waves[:, WIDTH]  # from where P rises steeply to R

    assert onset("av block 1").min() > 0.2
    assert np.median(onset("normal")) == pytest.approx(0.207, abs=0.02)
    assert (onset("av block 1") - onset("normal")).min() >= 0.08 - 1e-9


def test_early_beats_come_early_and_only_the_ventricular_ones_are_made_up_for() -> None:
    before, behind = CENTRE - 1, CENTRE
    for name, sum_of_both in (("pvc", 2.0), ("pac", None)):
        for p, strip in zip(PATIENTS, played(name), strict=True):
            usual = patient(p).interval_s
            assert strip.intervals_s[before] < 0.9 * usual
            if sum_of_both:
                together = strip.intervals_s[before] + strip.intervals_s[behind]
                assert together == pytest.approx(sum_of_both * usual, rel=0.12)
            else:
                assert strip.intervals_s[before] + strip.intervals_s[behind] < 2.0 * usual


def test_bigeminy_has_a_ventricular_beat_on_both_sides_of_a_normal_one() -> None:
    for strip in played("bigeminy"):
        wide = strip.waves[:, R, WIDTH] > 0.03
        assert wide[[CENTRE - 1, CENTRE + 1]].all()
        assert not wide[[CENTRE - 2, CENTRE, CENTRE + 2]].any()


def test_blocks_levels_and_inversions_show_in_their_waves() -> None:
    assert (centre_waves("pvc")[:, R, WIDTH] > 0.03).all()
    assert not centre_waves("pvc")[:, P, HEIGHT].any()
    for name in ("lbbb", "rbbb"):
        assert (centre_waves(name)[:, R2, HEIGHT] > 0.2 * centre_waves(name)[:, R, HEIGHT]).all()
    assert (centre_waves("st elevation")[:, ST, HEIGHT] > 0.1).all()
    assert (centre_waves("st depression")[:, ST, HEIGHT] < -0.1).all()
    for name in ("t inversion", "lbbb", "pvc"):
        assert (centre_waves(name)[:, T, HEIGHT] < 0).all()
    assert (centre_waves("normal")[:, T, HEIGHT] > 0).all()


def test_noise_can_be_turned_off_and_the_mains_hum_at_their_frequency() -> None:
    number = next(p for p in PATIENTS if patient(p).hum_mv > 0.04)
    strip = np.zeros(2048)

    def quiet_at(noise: float) -> np.ndarray:
        rng = generator_of(number, 0, 0)
        return recorded(strip, patient(number), fibrillation_mv=0.0, noise=noise, rng=rng)

    assert not quiet_at(0.0).any()
    power = np.abs(np.fft.rfft(quiet_at(1.0))) ** 2
    assert abs(np.argmax(power) * RATE_HZ / 1024 - 50) < 0.2


def test_the_recorder_has_steps_and_an_end() -> None:
    rng = np.random.default_rng(0)
    found = recorded(np.linspace(-9, 9, 512), patient(0), fibrillation_mv=0.0, noise=0.0, rng=rng)
    assert abs(found).max() == pytest.approx(LIMIT_MV)
    assert np.allclose(np.rint(found / STEP_MV), found / STEP_MV, atol=1e-3)


def test_swapped_electrodes_turn_a_beat_upside_down() -> None:
    sides = {patient(p).swapped for p in PATIENTS}
    assert sides == {True, False}
    for p in (0, next(p for p in PATIENTS if patient(p).swapped)):
        drawn, _ = draw([p], windows=1, noise=0.0)
        beat = drawn.x[CLASSES.index("normal"), 0, 114:143]
        steepest = np.abs(np.diff(beat, 2)).argmax()  # the tip of R
        assert (np.diff(beat, 2)[steepest] > 0) == patient(p).swapped


@pytest.mark.parametrize("bad", [{"windows": 0}, {"noise": -1.0}, {"noise": float("nan")}])
def test_bad_parameters_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(SchemaError, match=next(iter(bad))):
        draw([0], **bad)


SPLIT = Split(x=np.zeros((8, 1), np.float32), y=np.zeros(8, np.int64))
OWNERS = np.arange(8)


def test_a_patient_on_both_sides_is_an_error_that_names_both() -> None:
    with pytest.raises(InputError, match="patient 3 is in split 'train' and in split 'test'"):
        by_group(SPLIT, OWNERS, {"train": [0, 3], "gate": [1], "score": [2], "test": [3, 4, 5, 6, 7]}, noun="patient")


def test_a_patient_in_no_split_and_a_split_without_patients_are_errors() -> None:
    with pytest.raises(InputError, match="patient 7 is in no split"):
        by_group(SPLIT, OWNERS, {"train": [0, 3], "gate": [1], "score": [2], "test": [4, 5, 6]}, noun="patient")
    with pytest.raises(InputError, match="'gate' has no samples"):
        by_group(SPLIT, OWNERS, {"train": range(6), "gate": [], "score": [6], "test": [7]}, noun="patient")


@pytest.mark.parametrize("count", [4, 5, 9, 48, 200])
def test_groups_are_dealt_to_all_splits_and_to_one_each(count: int) -> None:
    members = dealt(range(count), {"train": 0.6, "gate": 0.1, "score": 0.1, "test": 0.2}, noun="user", seed=1)
    check_apart(members, noun="user")
    assert sorted(group for inside in members.values() for group in inside) == list(range(count))
    assert all(members.values())
    if count > 40:
        assert len(members["test"]) == pytest.approx(0.2 * count, abs=1)


def test_fewer_users_than_splits_are_refused() -> None:
    with pytest.raises(InputError, match="3 users are too few"):
        dealt([1, 2, 3], {"train": 0.6, "gate": 0.1, "score": 0.1, "test": 0.2}, noun="user", seed=1)
