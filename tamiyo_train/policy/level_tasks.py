"""Tasks at a level of difficulty that is no parameter of a generator: noisy digits, MNIST-1D, statistics of an IMU.

Each takes a level and a seed, and how many samples its score split shall have at least: what a policy learns from is
less noisy the more there are, what it is judged on has as many as its gates.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks import digits as digits_task
from tamiyo_train.tasks import imu as imu_task
from tamiyo_train.tasks.base import Split, Task, check_samples, stratified
from tamiyo_train.tasks.generated import GATE, SCORE, TEST, TRAIN
from tamiyo_train.tasks.mnist1d import global_generators_kept

DIGITS = InputSpec(shape=(64,), layout="D", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0)
MNIST1D = InputSpec(shape=(40,), layout="D", offset=0.0, scale=1.0, raw_low=-12.0, raw_high=12.0)
IMU = InputSpec(shape=(18,), layout="D", offset=0.0, scale=1.0, raw_low=-8.0, raw_high=8.0)
TEN = tuple(str(digit) for digit in range(10))
POOL_SEED = 3_141
VIEWS = 4
_SHARES = (0.5, 0.15, 0.15, 0.2)
_WINDOWS = 8
_USERS = {"train": 42, "gate": 10, "score": 10, "test": 20}


def digits(noise: float, *, seed: int, score: int = SCORE, held_out: bool = False) -> Task:
    """Handwritten digits as 64 numbers with gaussian pixel noise of ``noise`` grey levels of 16, cut to 0..16.

    One half of the 1,797 images, by class, is for training levels, the other ``held_out``: no image is in both. Split
    50/15/15/20 by image; each image is there `VIEWS` times with noise of its own, more often in the score split where
    that is to be larger.
    """
    task = digits_task.digits()
    x = np.concatenate([split.x for split in task.splits().values()]).reshape(-1, 64)
    y = np.concatenate([split.y for split in task.splits().values()])
    half = stratified(y, (0.5, 0.5), rng=np.random.default_rng(POOL_SEED))[int(held_out)]
    x, y = x[half], y[half]
    rng = np.random.default_rng(seed)
    parts = stratified(y, _SHARES, rng=rng)
    views = [VIEWS, VIEWS, max(VIEWS, -(-score // len(parts[2]))), VIEWS]
    splits = [
        _noisy(np.repeat(x[part], times, 0), np.repeat(y[part], times), noise, rng)
        for part, times in zip(parts, views, strict=True)
    ]
    return _task(f"digits, noise {noise:g}", TEN, DIGITS, splits)


def mnist1d(translation: float, *, seed: int, score: int = SCORE) -> Task:
    """MNIST-1D with shapes moved by up to ``translation`` of the 72 places they are drawn in; the package's own is 48.

    Raises MissingExtraError without the package.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as exc:
        raise MissingExtraError("mnist1d", "train") from exc
    sizes = (TRAIN, GATE, score, TEST)
    settings = get_dataset_args()
    settings.num_samples, settings.train_split = sum(sizes), 1.0
    settings.max_translation, settings.seed = int(translation), seed
    with global_generators_kept():  # the package seeds them
        data = make_dataset(settings)
    x, y = data["x"].astype(np.float32), data["y"].astype(np.int64)
    ends = np.cumsum((0, *sizes))
    splits = [Split(x=x[low:high], y=y[low:high]) for low, high in itertools.pairwise(ends)]
    return _task(f"mnist1d, translation {translation:g}", TEN, MNIST1D, splits)


def imu(noise: float, *, seed: int, score: int = SCORE) -> Task:
    """Six activities by the 18 statistics of `tasks.imu.statistics`; ``noise``: of noise, bias and loss of the sensor.

    82 users of 8 windows an activity, more where the score split is to be larger; no user is in two splits.
    """
    counts = {**_USERS, "score": max(_USERS["score"], -(-score // (_WINDOWS * len(imu_task.CLASSES))))}
    first, splits = 0, []
    for count in counts.values():
        split, _ = imu_task.draw(range(first, first + count), windows=_WINDOWS, noise=noise, seed=seed)
        splits.append(Split(x=imu_task.statistics(split.x), y=split.y))
        first += count
    return _task(f"imu, noise {noise:g}", imu_task.CLASSES, IMU, splits)


def _noisy(x: NDArray[np.float32], y: NDArray[np.int64], noise: float, rng: np.random.Generator) -> Split:
    moved = x + noise * rng.normal(0, 1, x.shape)
    return Split(x=moved.clip(DIGITS.raw_low, DIGITS.raw_high).astype(np.float32), y=y)


def _task(name: str, classes: tuple[str, ...], spec: InputSpec, splits: list[Split]) -> Task:
    for split in splits:
        check_samples(split.x, split.y, spec=spec, classes=len(classes))
    train, gate, score, test = splits
    return Task(name=name, classes=classes, input=spec, train=train, gate=gate, score=score, test=test)
