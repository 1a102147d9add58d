"""The test set that travels in the bundle, as a field stream."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import SAMPLES, Bundle
from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.sources.base import Array, Sample, check_sample, sources


@sources.register("bundle")
class BundleSource:
    """``samples.npz`` of a bundle: ``x`` (N, *shape) raw, ``y`` (N,) classes."""

    def __init__(self, values: Array, labels: NDArray[np.int64]) -> None:
        self.label = f"the bundle's test set ({len(values)} samples)"
        self._values = values
        self._labels: list[int] = labels.tolist()

    @classmethod
    def open(cls, bundle: Bundle, path: Path | None = None) -> BundleSource:
        """Open the test set of a bundle; raises InputError when it holds none."""
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
    """The arrays of an ``.npz`` in memory, without pickles; raises IntegrityError when it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as exc:  # a lone .npy makes a TypeError
        raise IntegrityError(f"{name} is not an archive of arrays: {exc}", hint="export the bundle again") from exc
