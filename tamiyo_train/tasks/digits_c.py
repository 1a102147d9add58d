"""Stage 2.5: the digits under the 15 corruptions of MNIST-C, most of which are never trained on.

Trained on: the clean digits, and each under every corruption of `TRAINED_ON`, `DRAWS` times over. Gates and score see a
digit once, clean or under one of those, in turn: copies of a digit are no independent evidence. The test set is every
test digit of `digits` under all 15, so that its accuracy is the mean over the corruptions. Which digit is in which
split is as in `digits`; corrupted at severity `SEVERITY` of 5 throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_train.corruptions import corrupted, corruptions
from tamiyo_train.tasks.base import Augmentation, Split, Task, stages
from tamiyo_train.tasks.digits import digits

TRAINED_ON = ("canny-edges", "fog", "rotate", "stripe", "translate")
SEVERITY = 2
DRAWS = 4
"""Times that each digit is trained on under each of them."""
_SEED = 2500
_ADDRESSES = {"train": 0, "gate": 1, "score": 2, "test": 3}
_MOST = 1 << 20
"""Images a split can hold: the split is the upper part of an image's address."""


@stages.register("digits-c")
def digits_c() -> Task:
    """The task; raises MissingExtraError without scikit-learn."""
    return of_images(digits(), name="digits-c", severity=SEVERITY)


def of_images(clean: Task, *, name: str, severity: int) -> Task:
    """The task that corrupts the images of another, of one channel; raises SchemaError when they have more."""
    channels = clean.input.shape[0]
    require(channels == 1, "channels", f"images to corrupt have 1 channel, got {channels}")
    versions = (None, *TRAINED_ON)
    drawn = [_under(clean, "train", kind, severity, draw) for draw in range(DRAWS) for kind in TRAINED_ON]
    return replace(
        clean,
        name=name,
        train=joined([*[clean.train] * DRAWS, *drawn]),
        gate=_in_turn([_under(clean, "gate", kind, severity) for kind in versions]),
        score=_in_turn([_under(clean, "score", kind, severity) for kind in versions]),
        test=joined(list(tests(clean, severity).values())),
        augmentation=Augmentation.NONE,
    )


def tests(clean: Task, severity: int) -> Mapping[str, Split]:
    """The test images of a clean task under each corruption, by its name, in the order of the corrupted test set."""
    return {kind: _under(clean, "test", kind, severity) for kind in corruptions.names()}


def joined(splits: list[Split]) -> Split:
    """One split after the other."""
    return Split(x=np.concatenate([split.x for split in splits]), y=np.concatenate([split.y for split in splits]))


def _under(clean: Task, split: str, kind: str | None, severity: int, draw: int = 0) -> Split:
    """A split of the clean task, raw as it was, under one corruption or none; ``draw``: which of several."""
    images, spec = clean.splits()[split], clean.input
    if kind is None:
        return images
    span = spec.raw_high - spec.raw_low
    shown: NDArray[np.float32] = ((images.x[:, 0] - spec.raw_low) / span).astype(np.float32)
    first = (_ADDRESSES[split] * DRAWS + draw) * _MOST
    numbers = range(first, first + len(images))
    made = corrupted(shown, kind, severity, seed=_SEED, numbers=numbers)
    return Split(x=(made * span + spec.raw_low)[:, None].astype(np.float32), y=images.y)


def _in_turn(splits: list[Split]) -> Split:
    """Sample i from split number i modulo their count; all hold the same images in the same order."""
    chosen = np.arange(len(splits[0])) % len(splits)
    x = np.stack([split.x for split in splits])[chosen, np.arange(len(chosen))]
    return Split(x=x, y=splits[0].y)
