"""Digits: fixed splits, and data that would teach nonsense is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
from tamiyo_train.tasks import stages
from tamiyo_train.tasks.digits import digits, from_arrays


@pytest.fixture(scope="module")
def task():
    return digits()


@pytest.fixture
def raw(task):
    x = np.concatenate([split.x for split in task.splits().values()])
    y = np.concatenate([split.y for split in task.splits().values()])
    return x.copy(), y.copy()


def test_every_sample_is_in_exactly_one_split(task):
    total = sum(len(split) for split in task.splits().values())
    rows = {row.tobytes() for split in task.splits().values() for row in split.x.reshape(len(split), -1)}
    assert total == 1797
    assert len(rows) == 1797  # the data set holds no duplicate, so a repeated row would be a leak


def test_splits_are_about_sixty_twenty_twenty_and_keep_the_shares_of_classes(task):
    sizes = {name: len(split) / 1797 for name, split in task.splits().items()}
    assert sizes["train"] == pytest.approx(0.6, abs=0.01)
    assert sizes["gate"] + sizes["score"] == pytest.approx(0.2, abs=0.01)
    assert sizes["test"] == pytest.approx(0.2, abs=0.01)
    for split in task.splits().values():
        shares = np.bincount(split.y, minlength=10) / len(split)
        assert shares.min() > 0.09 and shares.max() < 0.11


def test_the_split_is_the_same_every_time(task):
    assert digits().sha256() == task.sha256()


def test_validation_is_both_halves(task):
    assert len(task.validation) == len(task.gate) + len(task.score)


def test_nan_is_refused_and_located(raw):
    x, y = raw
    x[17, 0, 3, 3] = np.nan
    with pytest.raises(InputError, match="number 17"):
        from_arrays(x, y)


def test_a_wrong_shape_is_refused(raw):
    x, y = raw
    with pytest.raises(InputError, match="expected"):
        from_arrays(x[:, :, :7], y)


def test_a_missing_class_is_named(raw):
    x, y = raw
    with pytest.raises(InputError, match="class 4"):
        from_arrays(x[y != 4], y[y != 4])


def test_scaled_samples_are_refused_because_the_specification_scales(raw):
    x, y = raw
    with pytest.raises(InputError, match=r"\[0.0, 16.0\]"):
        from_arrays(x - 1, y)


def test_labels_and_samples_must_match(raw):
    x, y = raw
    with pytest.raises(InputError, match="labels"):
        from_arrays(x, y[:-1])
    with pytest.raises(InputError, match="integers"):
        from_arrays(x, y.astype(np.float32))
    with pytest.raises(InputError, match=r"0\.\.9"):
        from_arrays(x, y + 1)


def test_a_class_too_small_to_split_is_refused(raw):
    x, y = raw
    few = np.concatenate([np.flatnonzero(y != 4), np.flatnonzero(y == 4)[:2]])
    with pytest.raises(InputError, match="class 4 has 2 samples"):
        from_arrays(x[few], y[few])


def test_a_misspelt_stage_gets_the_near_name():
    with pytest.raises(UnknownNameError) as caught:
        stages.get("digit")
    assert caught.value.near == ("digits",)
