"""One coloured shape in an image of 16 x 16: what it is as a number, and how it is drawn.

What an image shows (its meaning) is a colour, a shape, a size and a quadrant, 360 of them. Combinations of colour and
shape whose numbers agree modulo 3, ten of thirty, are held out: nothing is trained on them, though every colour and
every shape is seen in others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
SHAPES = ("circle", "square", "triangle", "cross", "ring")
SIZES = ("small", "medium", "large")
QUADRANTS = (("upper", "left"), ("upper", "right"), ("lower", "left"), ("lower", "right"))
SIDE = 16
COUNTS = (len(COLOURS), len(SHAPES), len(SIZES), len(QUADRANTS))
_RGB = np.array(
    [(0.9, 0.1, 0.1), (0.1, 0.8, 0.1), (0.15, 0.2, 0.95), (0.9, 0.85, 0.1), (0.65, 0.1, 0.8), (0.1, 0.8, 0.85)]
)
_RADII = np.array([2.2, 3.0, 3.9])
"""Pixels, before they vary by `_RADIUS_SPREAD`."""
_RADIUS_SPREAD, _PLACE_SPREAD, _COLOUR_SPREAD, _NOISE = 0.2, 0.8, 0.08, 0.04
_FINE = 4
"""Points a pixel is averaged over, along each side."""

Meanings = NDArray[np.int64]


def attributes(meanings: Meanings) -> tuple[NDArray[np.int64], ...]:
    """Numbers of colour, shape, size and quadrant of meanings 0..359, each of their shape."""
    return tuple(np.asarray(part, np.int64) for part in np.unravel_index(meanings, COUNTS))


def held_out(meanings: Meanings) -> NDArray[np.bool_]:
    """Whether the combination of colour and shape is never trained on."""
    colour, shape, _, _ = attributes(meanings)
    return np.asarray(colour % 3 == shape % 3)


EVERY = np.arange(int(np.prod(COUNTS)), dtype=np.int64)
SEEN = EVERY[~held_out(EVERY)]
"""The 240 meanings that are trained on."""
UNSEEN = EVERY[held_out(EVERY)]
"""The 120 that are not."""


def drawn(meaning: int, *, rng: np.random.Generator) -> NDArray[np.float32]:
    """An image (3, 16, 16) of levels 0..255 that shows ``meaning``.

    Place, radius, colour and background vary; every level is noisy.
    """
    colour, shape, size, quadrant = (int(part) for part in attributes(np.asarray(meaning)))
    middle = np.array([SIDE / 4 + SIDE / 2 * (quadrant // 2), SIDE / 4 + SIDE / 2 * (quadrant % 2)])
    y, x = middle + rng.uniform(-_PLACE_SPREAD, _PLACE_SPREAD, 2)
    radius = _RADII[size] + rng.uniform(-_RADIUS_SPREAD, _RADIUS_SPREAD)
    ink = np.clip(_RGB[colour] + rng.uniform(-_COLOUR_SPREAD, _COLOUR_SPREAD, 3), 0, 1)
    ground = rng.uniform(0, 0.25)
    points = (np.arange(SIDE * _FINE) + 0.5) / _FINE
    inside = _covers(SHAPES[shape], (points[:, None] - y) / radius, (points[None] - x) / radius)
    cover = inside.reshape(SIDE, _FINE, SIDE, _FINE).mean(axis=(1, 3))
    image = ground + cover * (ink[:, None, None] - ground) + _NOISE * rng.standard_normal((3, SIDE, SIDE))
    levels: NDArray[np.float32] = np.rint(255 * np.clip(image, 0, 1)).astype(np.float32)
    return levels


def _covers(shape: str, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points (rows, columns) inside a shape of radius 1 round (0, 0); y points down."""
    match shape:
        case "circle":
            return y**2 + x**2 <= 1
        case "square":
            return np.maximum(abs(y), abs(x)) <= 0.9
        case "triangle":
            return (y <= 0.8) & (abs(x) <= (y + 1) * 0.55)
        case "cross":
            return (np.minimum(abs(y), abs(x)) <= 0.3) & (np.maximum(abs(y), abs(x)) <= 1)
        case _:
            square = y**2 + x**2
            return (square <= 1) & (square >= 0.36)
