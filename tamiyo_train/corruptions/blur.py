"""Blur: through frosted glass, and of a camera that moved."""

from __future__ import annotations

import numpy as np

from tamiyo_train.corruptions.base import Image, add, pixels
from tamiyo_train.corruptions.sampling import grid, sampled, smoothed

_DEVIATION = 0.7
"""Of the smoothing before and after, over the distance that light is thrown."""
_TAPS = 17


@add("glass-blur", "pixels of 28 that light is thrown", (0.7, 1.0, 1.4, 2.0, 2.8))
def glass_blur(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Smoothed, then every pixel shows another place at most so far away, then smoothed again."""
    thrown = pixels(image, level)
    rows, columns = grid(image)
    moved_down, moved_right = rng.uniform(-thrown, thrown, (2, *image.shape))
    spread = sampled(smoothed(image, _DEVIATION * thrown), rows + moved_down, columns + moved_right)
    return smoothed(spread, _DEVIATION * thrown)


@add("motion-blur", "length of the trail, four deviations, pixels of 28", (3, 5, 8, 12, 15))
def motion_blur(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Smeared along a line at most 45 degrees from the horizontal, weighted as a gaussian cut at two deviations."""
    angle = rng.uniform(-np.pi / 4, np.pi / 4)
    rows, columns = grid(image)
    steps = np.linspace(-2, 2, _TAPS)
    weights = np.exp(-0.5 * steps**2)
    trail = np.zeros_like(image)
    for step, weight in zip(steps * pixels(image, level) / 4, weights / weights.sum(), strict=True):
        trail += weight * sampled(image, rows + step * np.sin(angle), columns + step * np.cos(angle))
    return trail
