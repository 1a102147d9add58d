"""Noise: of counted photons, and of pixels stuck at black or white."""

from __future__ import annotations

import numpy as np

from tamiyo_train.corruptions.base import Image, add


@add("shot-noise", "photons at full brightness", (60, 25, 12, 5, 3))
def shot_noise(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Every pixel counts a Poisson number of photons."""
    counted: Image = rng.poisson(image * level) / level
    return counted


@add("impulse-noise", "share of the pixels", (0.03, 0.06, 0.09, 0.17, 0.27))
def impulse_noise(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Pixels are set to 0 or 1, as often to the one as to the other."""
    struck, white = rng.random(image.shape) < level, rng.random(image.shape) < 0.5
    return np.where(struck, white, image)
