"""The port between the loop and whatever produces samples.

A source checks everything it can before the first sample is given out: a stream that turns out to be unusable halfway
has wasted the energy of its first half.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.registry import Registry

Array = NDArray[Any]


class Sample(NamedTuple):
    """A raw sample, shaped as the manifest's input says, and its class where that is known."""

    value: Array
    label: int | None


class Source(Protocol):
    """A stream of samples; iterating a second time starts again from the front."""

    label: str

    @classmethod
    def open(cls, bundle: Bundle, path: Path | None) -> Source:
        """Open for a bundle's input; raises InputError naming the file that cannot be used."""

    def __iter__(self) -> Iterator[Sample]:
        """All samples, once."""

    def __len__(self) -> int:
        """How many there are."""


sources: Registry[type[Source]] = Registry("sources")


def open_source(text: str, bundle: Bundle) -> Source:
    """The source named by a command line: the name of one that needs no path, as ``bundle``; else a path."""
    if text in sources and text != "folder":
        return sources.get(text).open(bundle, None)
    return sources.get("folder").open(bundle, Path(text))


def check_sample(value: Array, spec: InputSpec, name: str) -> Array:
    """The sample, if it has the shape, the type and the range that the bundle expects; raises InputError.

    ``(H, W)`` stands for one channel. Numbers of any kind become float32, except uint8, which stays.
    """
    if value.dtype.kind not in "uif":
        raise InputError(f"{name} holds {value.dtype} values, not numbers", hint="store it as float32 or uint8")
    if value.shape != spec.shape and spec.layout.startswith("C") and (1, *value.shape) == spec.shape:
        value = value[np.newaxis]
    if value.shape != spec.shape:
        raise InputError(
            f"{name} has shape {list(value.shape)}, the bundle takes {list(spec.shape)} ({spec.layout})",
            hint="resize the sample, or run the bundle that was made for it",
        )
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InputError(f"{name} holds NaN or infinite values", hint="repair or remove the file")
    low, high = float(value.min()), float(value.max())
    if low < spec.raw_low or high > spec.raw_high:
        raise InputError(
            f"{name} holds values from {low:g} to {high:g}, the bundle takes {spec.raw_low:g} to {spec.raw_high:g}",
            hint="scale the sample to the range of the sensor that the network was trained on",
        )
    return value if value.dtype == np.uint8 else np.ascontiguousarray(value, np.float32)
