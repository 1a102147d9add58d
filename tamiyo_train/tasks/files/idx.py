"""MNIST's own files: images and labels in IDX, gzipped or not, in one folder.

    train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]  t10k-images-idx3-ubyte[.gz]  t10k-labels-idx1-ubyte[.gz]

They may lie where torchvision puts them: MNIST/raw/ or raw/ in the folder that is given.

IDX (Y. LeCun, http://yann.lecun.com/exdb/mnist/): two zero bytes, 8 for bytes, the number of axes, each axis' length as
a big-endian 32-bit number, then the values. The t10k files are the test set; of the others a tenth is for the gates and
a tenth for the score, split by class. Names may have a dot for the dash before idx.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.base import Split, Task, check_samples, stratified
from tamiyo_train.tasks.files.base import LIMIT_BYTES, SEED, Format, check_classes, formats

_PARTS = ("train", "t10k")
_SHARES = (0.8, 0.1, 0.1)
_INSIDE = ("", "raw", "MNIST/raw")


def read_idx(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """One file of bytes with ``axes`` axes; raises InputError for another magic number or length."""
    raw = read_bytes(path, limit_bytes=LIMIT_BYTES, what="IDX file")
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as exc:
            raise InputError(
                f"{path} cannot be unpacked: {exc}", hint="it is cut off or no gzip; copy it again"
            ) from exc
    wanted = bytes([0, 0, 8, axes])
    if raw[:4] != wanted:
        raise InputError(
            f"{path}, byte 0: the magic number is {raw[:4].hex() or 'missing'}, expected {wanted.hex()}",
            hint=f"an IDX file of bytes with {axes} axes; is it gzipped without .gz, or images for labels?",
        )
    start = 4 + 4 * axes
    shape = tuple(int(length) for length in np.frombuffer(raw[4:start].ljust(4 * axes, b"\0"), ">u4"))
    if len(raw) - start != math.prod(shape):
        raise InputError(
            f"{path}, byte {start}: {max(0, len(raw) - start)} values follow, {' x '.join(map(str, shape))} announced",
            hint="the file is cut off or has something behind its end; copy it again",
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def grey_levels(shape: tuple[int, ...]) -> InputSpec:
    """What images of bytes are before the first graph: CHW, 0 to 255, taken as 0 to 1."""
    return InputSpec(shape=shape, layout="CHW", offset=0.0, scale=1 / 255, raw_low=0.0, raw_high=255.0)


def _folder(path: Path) -> Path | None:
    """Where the training images are; None when nowhere in ``path``."""
    places = (path / inside for inside in _INSIDE)
    return next((place for place in places if _file(place, "train", "images") is not None), None)


def _file(folder: Path, part: str, what: str) -> Path | None:
    names = (
        f"{part}-{what}{dash}ubyte{end}" for dash in ("-idx3-", "-idx1-", ".idx3-", ".idx1-") for end in ("", ".gz")
    )
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _part(folder: Path, part: str) -> Split:
    found = {}
    for what, axes in (("images", 3), ("labels", 1)):
        path = _file(folder, part, what)
        if path is None:
            raise InputError(
                f"{folder} has no {part}-{what}-idx{axes}-ubyte, with or without .gz",
                hint="four files belong together: images and labels of train and t10k",
            )
        found[what] = (path, read_idx(path, axes=axes))
    (images_path, images), (labels_path, labels) = found["images"], found["labels"]
    if len(images) != len(labels):
        raise InputError(
            f"{labels_path} has {len(labels)} labels for {len(images)} images in {images_path}",
            hint="one of the two belongs to another part",
        )
    return Split(x=images[:, None].astype(np.float32), y=labels.astype(np.int64))


def read(path: Path) -> Task:
    """The four files as a task."""
    folder = _folder(path)
    assert folder is not None, f"{path} does not look like this format"
    both = {part: _part(folder, part) for part in _PARTS}
    given, test = both["train"], both["t10k"]
    if given.x.shape[1:] != test.x.shape[1:]:
        raise InputError(
            f"{folder}: training images are {given.x.shape[2:]}, test images {test.x.shape[2:]}",
            hint="give the four files of one data set",
        )
    classes = tuple(str(label) for label in range(int(given.y.max(initial=0)) + 1))
    spec = grey_levels(given.x.shape[1:])
    try:
        for split in (given, test):
            check_classes(split.y, classes)
            check_samples(split.x, split.y, spec=spec, classes=len(classes))
        parts = stratified(given.y, _SHARES, rng=np.random.default_rng(SEED))
    except InputError as exc:
        raise InputError(
            f"{folder}: {exc.message}", hint=exc.hint or "training and test set know the same classes"
        ) from exc
    train, gate, score = (Split(x=given.x[rows], y=given.y[rows]) for rows in parts)
    return Task(name="idx", classes=classes, input=spec, train=train, gate=gate, score=score, test=test)


IDX = Format(
    name="idx",
    what="a folder of MNIST's IDX files: train-images-idx3-ubyte[.gz] and so on",
    looks_like=lambda path: path.is_dir() and _folder(path) is not None,
    read=read,
)
formats.register("idx")(IDX)
