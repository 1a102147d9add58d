"""Strokes: things drawn across a digit, and a digit of which only the outline is left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.corruptions.base import REFERENCE, Image, add, pixels
from tamiyo_train.corruptions.sampling import grid, smoothed

_HALF_WIDTHS = (0.8, 1.2, 1.6, 2.3, 3.0)
_DASH, _TOOTH = 2.0, 2.0
_EDGE_BLUR = 1.0
"""Standard deviation of the smoothing before edges are sought, pixels of 28."""
_LOW, _HIGH = 0.1, 0.2
"""Share of the steepest slope that continues an edge, and that starts one."""


@add("dotted-line", "half the width, pixels of 28", _HALF_WIDTHS)
def dotted_line(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Dashes on a straight line from the left edge to the right."""
    start, end = rng.uniform(0, REFERENCE - 1, 2)
    rows, columns = _reference_grid(image)
    distance = np.abs(rows - start - (end - start) * columns / (REFERENCE - 1))
    dash = (columns // _DASH) % 2 == 1
    return image + np.where(dash, _ink(distance, level, image), 0)


@add("zigzag", "half the width, pixels of 28", _HALF_WIDTHS)
def zigzag(image: Image, level: float, rng: np.random.Generator) -> Image:
    """A saw-toothed line, almost level, from left to right."""
    start = rng.uniform(0, REFERENCE - 1)
    slope = rng.uniform(-5, 5) / (REFERENCE - 5)
    rows, columns = _reference_grid(image)
    phase = ((columns - 2) / (2 * _TOOTH)) % 2
    tooth = _TOOTH * (1 - 2 * np.abs(phase - 1))
    distance = np.abs(rows - start - slope * columns - tooth)
    inside = (columns >= 2) & (columns <= REFERENCE - 3)
    return image + np.where(inside, _ink(distance, level, image), 0)


@add("canny-edges", "share of the outline in the image", (0.2, 0.4, 0.6, 0.8, 1.0))
def canny_edges(image: Image, level: float, rng: np.random.Generator) -> Image:
    """Mixed with its own outline, see `outline`; nothing is drawn."""
    return (1 - level) * image + level * outline(image)


def outline(image: Image) -> Image:
    """Edges by Canny (1986): smooth, slopes by Sobel, the crest of each slope, and what hangs on to a steep one."""
    even = np.pad(smoothed(image, pixels(image, _EDGE_BLUR)), 1, mode="edge")
    sides = even[:, 2:] - even[:, :-2]
    ends = even[2:] - even[:-2]
    across = sides[:-2] + 2 * sides[1:-1] + sides[2:]
    down = ends[:, :-2] + 2 * ends[:, 1:-1] + ends[:, 2:]
    steep = np.hypot(across, down)
    if steep.max() < 1e-9:
        return np.zeros_like(image)
    crest = _crest(steep, across, down)
    candidates = crest & (steep > _LOW * steep.max())
    return _attached(crest & (steep > _HIGH * steep.max()), candidates).astype(np.float64)


def _crest(steep: Image, across: Image, down: Image) -> NDArray[np.bool_]:
    """Pixels as steep as both neighbours along the slope, whose direction is one of four."""
    sector = np.rint(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(steep, 1)
    height, width = steep.shape
    kept = np.zeros(steep.shape, bool)
    for number, (i, j) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[1 + i : 1 + i + height, 1 + j : 1 + j + width]
        behind = padded[1 - i : 1 - i + height, 1 - j : 1 - j + width]
        kept |= (sector == number) & (steep >= ahead) & (steep > behind)
    return kept


def _attached(found: NDArray[np.bool_], candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The candidates that touch what was found, and those that touch these, to the end."""
    height, width = found.shape
    while True:
        padded = np.pad(found, 1)
        near = np.zeros_like(found)
        for i in range(3):
            for j in range(3):
                near |= padded[i : i + height, j : j + width]
        grown = near & candidates | found
        if np.array_equal(grown, found):
            return found
        found = grown


def _reference_grid(image: Image) -> tuple[Image, Image]:
    """Row and column of every pixel's middle, in pixels of an image of the reference size."""
    rows, columns = grid(image)
    height, width = image.shape
    return (rows + 0.5) * REFERENCE / height - 0.5, (columns + 0.5) * REFERENCE / width - 0.5


def _ink(distance: Image, half_width: float, image: Image) -> Image:
    """Ink of a stroke by the distance from its middle (pixels of 28), averaged over the size of a pixel.

    In a coarse image a thin stroke is grey: its ink is spread over the pixel.
    """
    spread = REFERENCE / image.shape[0] / 2
    inside = np.minimum(distance + spread, half_width) - np.maximum(distance - spread, -half_width)
    ink: Image = (inside / (2 * spread)).clip(0, 1)
    return ink
