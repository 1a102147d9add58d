"""Light and dirt: brighter ground, inverted bands, fog, and spots of mud."""

from __future__ import annotations

import numpy as np

from tamiyo_train.corruptions.base import Image, add, pixels
from tamiyo_train.corruptions.sampling import grid, sampled, smoothed

MUD = 63 / 255
_OCTAVES = 4
_SPOT = 1.5
"""Standard deviation of the smoothing that decides the size of a spot, pixels of 28."""


@add("brightness", "added brightness", (0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Everything brighter, ink cut off at 1; nothing is drawn."""
    return image + level


@add("stripe", "width of each band, pixels of 28", (3, 5, 7, 9, 11))
def stripe(image: Image, level: float, rng: np.random.Generator) -> Image:
    """The left and the right edge inverted; a pixel the band covers in part is inverted in part. Nothing is drawn."""
    _, columns = grid(image)
    inside = np.minimum(columns, image.shape[1] - 1 - columns)
    covered = (pixels(image, level) - inside).clip(0, 1)
    inverted: Image = image + covered * (1 - 2 * image)
    return inverted


@add("fog", "thickness over the brightness of ink", (0.5, 0.8, 1.2, 1.7, 2.5))
def fog(image: Image, level: float, rng: np.random.Generator) -> Image:
    """A cloud of fractal noise over the image, and the range brought back to what it was."""
    brightest = max(float(image.max()), 1e-6)
    cloudy: Image = (image + level * cloud(image.shape, rng)) * brightest / (brightest + level)
    return cloudy


@add("spatter", "share of the image", (0.05, 0.10, 0.15, 0.22, 0.30))
def spatter(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Spots of grey mud that hide what is below."""
    wet = smoothed(rng.normal(size=image.shape), pixels(image, _SPOT))
    return np.where(wet > np.quantile(wet, 1 - level), MUD, image)


def cloud(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """Value noise in 0..1: grids of 2, 3, 5, 9 random numbers a side, spread over the image, each half as strong."""
    total = np.zeros(shape)
    for octave in range(_OCTAVES):
        coarse = rng.random((2**octave + 1, 2**octave + 1))
        rows = np.linspace(0, 2**octave, shape[0])[:, None].repeat(shape[1], axis=1)
        columns = np.linspace(0, 2**octave, shape[1])[None].repeat(shape[0], axis=0)
        total += sampled(coarse, rows, columns) / 2**octave
    total -= total.min()
    thick: Image = total / total.max()
    return thick
