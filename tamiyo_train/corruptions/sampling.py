"""Reading images between their pixels, and smoothing them: what several corruptions are made of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.corruptions.base import Image

Floats = NDArray[np.float64]


def grid(image: Image) -> tuple[Floats, Floats]:
    """Row and column of every pixel, each (height, width)."""
    both = np.indices(image.shape).astype(np.float64)
    return both[0], both[1]


def sampled(image: Image, rows: Floats, columns: Floats) -> Image:
    """The image at places between pixels, bilinearly; 0 outside."""
    padded = np.pad(image, 1)
    rows = (rows + 1).clip(0, padded.shape[0] - 1)
    columns = (columns + 1).clip(0, padded.shape[1] - 1)
    top = np.floor(rows).astype(int).clip(0, padded.shape[0] - 2)
    left = np.floor(columns).astype(int).clip(0, padded.shape[1] - 2)
    down, right = rows - top, columns - left
    upper = padded[top, left] * (1 - right) + padded[top, left + 1] * right
    lower = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
    between: Image = upper * (1 - down) + lower * down
    return between


def mapped(image: Image, matrix: NDArray[np.float64]) -> Image:
    """The image at matrix @ (row, column), both from the image's centre: what is drawn moves by the inverse."""
    rows, columns = grid(image)
    middle = (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
    rows, columns = rows - middle[0], columns - middle[1]
    return sampled(
        image,
        matrix[0, 0] * rows + matrix[0, 1] * columns + middle[0],
        matrix[1, 0] * rows + matrix[1, 1] * columns + middle[1],
    )


def smoothed(image: Image, deviation: float) -> Image:
    """The image under a gaussian of that standard deviation (pixels), cut at 4 of them; edges are repeated."""
    if deviation <= 0:
        return image
    reach = max(1, math.ceil(4 * deviation))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        width = [(reach, reach) if axis == other else (0, 0) for other in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, width, mode="edge"), len(taps), axis=axis)
        image = windows @ taps
    return image
