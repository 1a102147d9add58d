"""What a corruption is, and how images are corrupted: one at a time, from random numbers that have an address.

An image's draws follow from (seed, corruption, number of the image) alone, so they depend neither on what else is
corrupted nor in what order; severity is not part of the address: it scales what was drawn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.registry import Registry

Image = NDArray[np.float64]
"""(height, width), 0 the ground and 1 the ink."""
Change = Callable[[Image, float, np.random.Generator], Image]
SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE = 28.0
"""Lengths are given in pixels of an image of this height, and shrink with the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """A way to spoil an image. ``levels``: the value of ``parameter`` at each severity, mildest first.

    ``change`` takes an image, a level and a generator, and returns another image; what leaves 0..1 is cut off.
    """

    name: str
    parameter: str
    levels: tuple[float, ...]
    change: Change

    def __post_init__(self) -> None:
        require(len(self.levels) == len(SEVERITIES), "levels", f"must be {len(SEVERITIES)}, one a severity")


corruptions: Registry[Corruption] = Registry("corruptions")


def add(name: str, parameter: str, levels: tuple[float, ...]) -> Callable[[Change], Change]:
    """Register the decorated change as a corruption."""

    def registered(change: Change) -> Change:
        corruptions.register(name)(Corruption(name=name, parameter=parameter, levels=levels, change=change))
        return change

    return registered


def corrupted(
    images: NDArray[np.floating], name: str, severity: int, *, seed: int, numbers: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Images (N, height, width) in 0..1 under one corruption; the ones given stay as they are.

    ``numbers``: the address of each image, 0, 1, 2 ... when left out. Raises UnknownNameError, SchemaError for a
    severity outside 1..5, InputError for values outside 0..1.
    """
    corruption = corruptions.get(name)
    require(severity in SEVERITIES, "severity", f"must be 1..{len(SEVERITIES)}, got {severity}")
    if not np.isfinite(images).all() or (images.size and (images.min() < 0 or images.max() > 1)):
        raise InputError("images to corrupt must be in 0..1", hint="scale them as the task's input specification says")
    level = corruption.levels[severity - 1]
    made = np.empty(images.shape, np.float32)
    for row, number in enumerate(range(len(images)) if numbers is None else numbers):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), number)))
        made[row] = corruption.change(images[row].astype(np.float64), level, rng).clip(0, 1)
    return made


def pixels(image: Image, length: float) -> float:
    """A length in pixels of the reference height, in pixels of this image."""
    return float(length * image.shape[0] / REFERENCE)
