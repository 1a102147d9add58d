"""A folder of samples: arrays (.npy), grey images (.pgm), and .png where Pillow is installed.

Files are taken in the order of their names. A sample that lies in a sub-folder named like a class of the bundle has
that class as its label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError, MissingDependencyError
from tamiyo_runtime.files import read_bytes
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import Array, Sample, check_sample, sources

_LIMIT_BYTES = 16 << 20
_LIMIT_FILES = 100_000
_SUFFIXES = (".npy", ".pgm", ".png")
# PGM (netpbm.sourceforge.net/doc/pgm.html): magic, width, height, greatest value, each after white space or a comment.
_PGM = re.compile(rb"(P[25])((?:\s|#[^\n]*\n)+)(\d+)((?:\s|#[^\n]*\n)+)(\d+)((?:\s|#[^\n]*\n)+)(\d+)(?:#[^\n]*)?\s")


@sources.register("folder")
class FolderSource:
    """All samples of a folder, or one file."""

    def __init__(self, samples: Sequence[Sample], label: str) -> None:
        self.label = label
        self._samples = tuple(samples)

    @classmethod
    def open(cls, bundle: Bundle, address: Address) -> FolderSource:
        """Read and check every file; raises InputError naming the first that cannot be used."""
        manifest, path = bundle.manifest, Path(address.body)
        samples = [
            Sample(check_sample(read_sample(file), manifest.input, str(file)), _label_of(file, manifest.classes))
            for file in _files(path)
        ]
        return cls(samples, f"{path} ({len(samples)} samples)")

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)


def read_sample(path: Path) -> Array:
    """One file as an array; raises InputError naming it, or MissingDependencyError for a .png without Pillow."""
    if path.suffix == ".png":
        return _read_png(path)
    data = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="sample")
    return _parse_pgm(data, path) if path.suffix == ".pgm" else _parse_npy(path)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"no such file or folder: {path}", hint="pass a folder of .npy, .pgm or .png files")
    try:
        found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    except OSError as exc:
        raise InputError(f"cannot read folder {path}: {exc.strerror}", hint="check its permissions") from exc
    if not found:
        raise InputError(f"{path} holds no sample", hint="a sample is a .npy, .pgm or .png file")
    if len(found) > _LIMIT_FILES:
        raise InputError(f"{path} holds {len(found)} samples, the limit is {_LIMIT_FILES}", hint="split the folder")
    return found


def _label_of(path: Path, classes: Sequence[str]) -> int | None:
    return classes.index(path.parent.name) if path.parent.name in classes else None


def _parse_npy(path: Path) -> Array:
    try:
        value: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as exc:
        raise InputError(f"{path} is not a .npy array: {exc}", hint="store it with numpy.save") from exc
    return value


def _parse_pgm(data: bytes, path: Path) -> Array:
    """A grey image as (height, width); raw values, not scaled to the file's greatest value."""
    broken = InputError(f"{path} is not a PGM image, or is cut short", hint="store it as PGM (P5 or P2), 8 bits")
    match = _PGM.match(data)
    if match is None:
        raise broken
    width, height, greatest = int(match[3]), int(match[5]), int(match[7])
    if not 0 < greatest < 256 or not 0 < width * height <= _LIMIT_BYTES:
        raise broken
    body = data[match.end() :]
    try:
        flat = (
            np.frombuffer(body[: width * height], np.uint8)
            if match[1] == b"P5"
            else np.array([int(word) for word in body.split()], np.uint8)
        )
        return flat.reshape(height, width)
    except (ValueError, OverflowError):
        raise broken from None


def _read_png(path: Path) -> Array:
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingDependencyError(
            f"reading {path} needs Pillow", hint="type: pip install pillow, or store the samples as .npy or .pgm"
        ) from exc
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, Image.DecompressionBombError) as exc:
        raise InputError(f"{path} is not a PNG image, or is cut short: {exc}", hint="repair or remove it") from exc
