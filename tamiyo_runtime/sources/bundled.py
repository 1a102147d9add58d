"""The test set that travels in the bundle, as a field stream."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import SAMPLES, Bundle
from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import Array, Sample, check_sample, sources

# The header that numpy writes (version 1.0) for arrays of numbers in C order; numpy itself would read it by `eval`.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|][biuf]\d{1,2})', "
    rb"'fortran_order': False, 'shape': \(([\d, ]{0,80})\), \} *\n",
    re.DOTALL,
)


@sources.register("bundle")
class BundleSource:
    """``samples.npz`` of a bundle: ``x`` (N, *shape) raw, ``y`` (N,) classes."""

    def __init__(self, values: Array, labels: NDArray[np.int64]) -> None:
        self.label = f"the bundle's test set ({len(values)} samples)"
        self._values = values
        self._labels: list[int] = labels.tolist()

    @classmethod
    def open(cls, bundle: Bundle, address: Address) -> BundleSource:
        """Open the test set of a bundle; raises InputError when it holds none."""
        address.only()
        if SAMPLES not in bundle.names:
            raise InputError(f"{bundle.name} holds no test set", hint="pass a folder of samples: --source PATH")
        arrays = load_arrays(bundle.read(SAMPLES), SAMPLES)
        if not {"x", "y"} <= arrays.keys() or len(arrays["x"]) != len(arrays["y"]) or not len(arrays["x"]):
            raise IntegrityError(f"{bundle.name}: {SAMPLES} is not a labelled test set", hint="export the bundle again")
        values = [check_sample(value, bundle.manifest.input, f"{SAMPLES}[{i}]") for i, value in enumerate(arrays["x"])]
        return cls(np.stack(values), arrays["y"].astype(np.int64))

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self._values, self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def load_arrays(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` in memory; raises IntegrityError when it is damaged or not what numpy writes.

    Nothing larger than the file itself is ever made: no pickles, no compressed members, and no array whose header says
    that it has more elements than there are bytes for. Floats are finite.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {entry.filename.removesuffix(".npy"): _load_array(archive, entry) for entry in archive.infolist()}
    except (ValueError, OSError, EOFError, TypeError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as exc:
        raise IntegrityError(f"{name} is not an archive of arrays: {exc}", hint="export the bundle again") from exc


def _load_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError(f"'{entry.filename}' is compressed")
    with archive.open(entry) as stream:
        raw = stream.read()
    header = _HEADER.match(raw)
    if header is None:
        raise ValueError(f"'{entry.filename}' is no array of numbers")
    dtype, shape = np.dtype(header[1].decode()), tuple(int(size) for size in header[2].replace(b",", b" ").split())
    size_bytes = len(raw) - header.end()
    if math.prod(shape) * dtype.itemsize != size_bytes:
        raise ValueError(f"'{entry.filename}' says that it is {dtype}{list(shape)}, in {size_bytes} bytes")
    array: NDArray[Any] = np.frombuffer(raw, dtype, offset=header.end()).reshape(shape).copy()
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"'{entry.filename}' holds NaN or infinity")
    return array
