"""Geometry: sheared, shrunk, turned and moved digits. Directions are drawn, amounts are not."""

from __future__ import annotations

import numpy as np

from tamiyo_train.corruptions.base import Image, add, pixels
from tamiyo_train.corruptions.sampling import grid, mapped, sampled


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


@add("shear", "columns a row", (0.2, 0.4, 0.6, 0.8, 1.0))
def shear(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Rows pushed sideways, in proportion to their distance from the centre."""
    return mapped(image, np.array([[1, 0], [_sign(rng) * level, 1]]))


@add("scale", "size over the original", (0.9, 0.8, 0.7, 0.6, 0.5))
def scale(image: Image, level: float, rng: np.random.Generator) -> Image:
    """The digit made smaller; nothing is drawn."""
    return mapped(image, np.eye(2) / level)


@add("rotate", "radians", (0.2, 0.4, 0.6, 0.8, 1.0))
def rotate(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Turned round the centre."""
    angle = _sign(rng) * level
    return mapped(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


@add("translate", "pixels of 28 along both axes", (1, 2, 3, 4, 5))
def translate(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Moved towards one of the corners."""
    rows, columns = grid(image)
    length = pixels(image, level)
    return sampled(image, rows + _sign(rng) * length, columns + _sign(rng) * length)
