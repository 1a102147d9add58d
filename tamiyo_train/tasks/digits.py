"""Stage 1: scikit-learn's 1,797 handwritten digits, 8x8 pixels of 17 grey levels, bundled with the package.

Origin: the test part of UCI's "Optical recognition of handwritten digits" (E. Alpaydin, C. Kaynak, 1998).
Split 60/10/10/20 by class (train, gate, score, test), always the same: the seed is fixed here, not by the run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Augmentation, Split, Task, check_samples, stages, stratified

INPUT = InputSpec(shape=(1, 8, 8), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0)
CLASSES = tuple(str(digit) for digit in range(10))
SHARES = (0.6, 0.1, 0.1, 0.2)
SPLIT_SEED = 1797


@stages.register("digits")
def digits() -> Task:
    """The task; raises MissingExtraError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as exc:
        raise MissingExtraError("sklearn", "train") from exc
    bunch = load_digits()
    return from_arrays(bunch.images[:, None].astype(np.float32), bunch.target.astype(np.int64))


def from_arrays(x: NDArray[np.float32], y: NDArray[np.int64]) -> Task:
    """The task on other samples of the same form, (N, 1, 8, 8) in 0..16; raises InputError when they are unfit."""
    check_samples(x, y, spec=INPUT, classes=len(CLASSES))
    parts = stratified(y, SHARES, rng=np.random.default_rng(SPLIT_SEED))
    train, gate, score, test = (Split(x=x[part], y=y[part]) for part in parts)
    return Task(
        name="digits",
        classes=CLASSES,
        input=INPUT,
        train=train,
        gate=gate,
        score=score,
        test=test,
        augmentation=Augmentation.SHIFT,
    )
