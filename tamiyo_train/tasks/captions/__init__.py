"""Stage 4.5: which of 100 captions belongs to an image, for combinations of colour and shape never trained on.

A sample is an image and its gallery, 100 captions of different meanings, one of them its own; the label is the place
of that one, so accuracy is recall@1 and chance is 1 %. Training, gate and score draw images and galleries from the
meanings that are trained on; in the test set image and all captions are of held-out combinations, so that novelty
tells nothing. See `scenes` and `sentences`.

A sample holds, flattened, the levels of the image (3 x 16 x 16), then the captions one after the other as word numbers.
Its draws follow from split and number alone.
"""

from __future__ import annotations

import numpy as np

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, check_samples, stages
from tamiyo_train.tasks.captions.scenes import SEEN, SIDE, UNSEEN, Meanings, drawn
from tamiyo_train.tasks.captions.sentences import LENGTH, said

GALLERY = 100
PIXELS = 3 * SIDE * SIDE
SIZES = {"train": 8000, "gate": 500, "score": 500, "test": 1000}
NEW = "new"
"""Samples of the law that is trained on that are in no split: what membership is told apart from."""
LEVELS = 255
"""Word numbers and levels of pixels are in 0..255, and scaled to 0..1 alike."""
INPUT = InputSpec(
    shape=(PIXELS + GALLERY * LENGTH,), layout="C", offset=0.0, scale=1 / LEVELS, raw_low=0.0, raw_high=LEVELS
)
_SEED = 4500
_ADDRESSES = {"train": 0, "gate": 1, "score": 2, "test": 3, NEW: 4}


@stages.register("captions")
def captions() -> Task:
    """The task: 8,000 samples to train on, 500 for the gates, 500 for the score, 1,000 to test."""
    splits = {name: draw(name, size) for name, size in SIZES.items()}
    for split in splits.values():
        check_samples(split.x, split.y, spec=INPUT, classes=GALLERY)
    places = tuple(f"caption {place}" for place in range(GALLERY))
    return Task(name="captions", classes=places, input=INPUT, metric="recall@1", **splits)  # type: ignore[arg-type]  # by name


def draw(split: str, samples: int) -> Split:
    """The first samples of a split, or of `NEW`; sample i has its own caption at place i modulo 100."""
    pool = UNSEEN if split == "test" else SEEN
    x = np.stack([_sample(_ADDRESSES[split], number, pool) for number in range(samples)])
    return Split(x=x, y=np.arange(samples, dtype=np.int64) % GALLERY)


def _sample(address: int, number: int, pool: Meanings) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng([_SEED, address, number])
    gallery = rng.choice(pool, GALLERY, replace=False)
    image = drawn(int(gallery[number % GALLERY]), rng=rng)
    return np.concatenate([image.ravel(), said(gallery, rng=rng).ravel()]).astype(np.float32)
