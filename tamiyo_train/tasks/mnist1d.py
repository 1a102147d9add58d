"""MNIST-1D: ten digit shapes as sequences of 40 values, scaled, sheared, moved and noisy; 4,000 samples, 1,000 to test.

Origin: S. Greydanus, D. Kobak, "Scaling down deep learning with MNIST-1D" (ICML 2024), package ``mnist1d``. It is
generated here by the package, from its own seed, and never downloaded. Reference accuracies by the package's authors:
logistic regression 32 %, multi-layer perceptron 68 %, recurrent 91 %, convolutional 94 %, people 96 %.
Of the 4,000 samples a tenth is for the gates and a tenth for the score, split by class.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, check_samples, stages, stratified

BOUND = 6.0
"""Values are standardised over the data set; the largest is 5.5 in size."""
INPUT = InputSpec(shape=(1, 40), layout="CT", offset=0.0, scale=1.0, raw_low=-BOUND, raw_high=BOUND)
CLASSES = tuple(str(digit) for digit in range(10))
SHARES = (0.8, 0.1, 0.1)
SPLIT_SEED = 4000


@stages.register("mnist1d")
def mnist1d() -> Task:
    """The task; raises MissingExtraError without the package."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as exc:
        raise MissingExtraError("mnist1d", "train") from exc
    with global_generators_kept():  # the package seeds them
        data = make_dataset(get_dataset_args())
    return from_arrays(_sequences(data["x"]), data["y"], test_x=_sequences(data["x_test"]), test_y=data["y_test"])


def from_arrays(
    x: NDArray[np.float32], y: NDArray[np.int64], *, test_x: NDArray[np.float32], test_y: NDArray[np.int64]
) -> Task:
    """The task on other sequences of the same form, (N, 1, 40); raises InputError when they are unfit."""
    for samples, targets in ((x, y), (test_x, test_y)):
        check_samples(samples, targets, spec=INPUT, classes=len(CLASSES))
    parts = stratified(y, SHARES, rng=np.random.default_rng(SPLIT_SEED))
    train, gate, score = (Split(x=x[part], y=y[part]) for part in parts)
    test = Split(x=test_x, y=test_y)
    return Task(name="mnist1d", classes=CLASSES, input=INPUT, train=train, gate=gate, score=score, test=test)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Whatever draws from the global generators of ``random`` and numpy leaves no trace in them."""
    plain, numeric = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numeric)


def _sequences(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return x[:, None].astype(np.float32)
