"""Tasks at a level of difficulty: digits with noise, MNIST-1D with shorter moves, statistics of a noisy IMU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tamiyo_train.policy import level_tasks
from tamiyo_train.policy.levels import FAMILIES, HELD_OUT_DATA, TRAINING_DATA
from tamiyo_train.tasks import digits as digits_task
from tamiyo_train.tasks.base import Task


def linear(task: Task) -> float:
    """Test accuracy of a linear rule."""
    return float(LogisticRegression(max_iter=1000).fit(task.train.x, task.train.y).score(task.test.x, task.test.y))


def images(task: Task) -> set[bytes]:
    return {row.tobytes() for split in task.splits().values() for row in split.x}


def test_no_image_of_a_training_level_is_in_a_held_out_one_nor_in_two_splits():
    taught = level_tasks.digits(0, seed=1)
    judged = level_tasks.digits(0, seed=2, held_out=True)
    assert not images(taught) & images(judged)
    splits = [{row.tobytes() for row in split.x} for split in taught.splits().values()]
    assert sum(map(len, splits)) == len(set.union(*splits))
    whole = {row.tobytes() for split in digits_task.digits().splits().values() for row in split.x.reshape(-1, 64)}
    assert images(taught) | images(judged) == whole


def test_digits_are_harder_the_noisier_they_are_and_stay_grey_levels():
    easy, hard = level_tasks.digits(1, seed=1), level_tasks.digits(8, seed=1)
    assert linear(easy) > linear(hard) + 0.1
    assert hard.train.x.min() >= 0 and hard.train.x.max() <= 16


def test_a_larger_score_split_changes_no_training_sample_of_an_imu():
    small, large = level_tasks.imu(1, seed=3, score=96), level_tasks.imu(1, seed=3, score=600)
    assert np.array_equal(small.train.x, large.train.x) and np.array_equal(small.gate.x, large.gate.x)
    assert len(large.score) >= 600 > len(small.score) >= 96
    assert small.train.x.shape[1] == 18


def test_a_noisy_imu_is_harder_than_a_quiet_one():
    assert linear(level_tasks.imu(0.5, seed=3)) > linear(level_tasks.imu(9, seed=3)) + 0.05


def test_mnist1d_is_harder_the_further_shapes_move_and_leaves_global_generators_alone():
    pytest.importorskip("mnist1d")
    state = np.random.get_state()[1].copy()
    near, far = level_tasks.mnist1d(4, seed=1, score=100), level_tasks.mnist1d(48, seed=1, score=100)
    assert np.array_equal(np.random.get_state()[1], state)
    assert linear(near) > linear(far) + 0.2
    assert len(near.score) == 100


@pytest.mark.parametrize("name", ["digits", "imu"])
def test_levels_of_a_family_share_their_shape_and_sizes(name):
    family = FAMILIES[name]
    first, last = (family.taught(family.training[n], seed=TRAINING_DATA + n, score=600) for n in (0, -1))
    for a, b in zip(first.splits().values(), last.splits().values(), strict=True):
        assert a.x.shape == b.x.shape
    held_out = family.judged(family.held_out[0], seed=HELD_OUT_DATA, score=500)
    assert held_out.input.shape == (family.inputs,) and len(held_out.classes) == family.classes
    assert torch.equal(family.held_out_level(0).test.y, torch.from_numpy(held_out.test.y))
