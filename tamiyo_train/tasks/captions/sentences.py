"""What is said of an image: one of four templates, with one of two words for each attribute, as word numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.tasks.captions.scenes import COLOURS, SHAPES, SIZES, Meanings, attributes

LENGTH = 10
"""Words a caption has room for; the rest is word 0, which is none."""
_COLOURS = (COLOURS, ("crimson", "emerald", "navy", "golden", "violet", "turquoise"))
_SHAPES = (SHAPES, ("disc", "box", "wedge", "plus", "hoop"))
_SIZES = (SIZES, ("tiny", "middling", "big"))
_ROWS = (("upper", "lower"), ("top", "bottom"))
_COLUMNS = (("left", "right"), ("western", "eastern"))
_CHOICES = (_COLOURS, _SHAPES, _SIZES, _ROWS, _COLUMNS)
"""By attribute: its values in the first wording, and in the second."""
_NAMES = ("COLOUR", "SHAPE", "SIZE", "ROW", "COLUMN")
_TEMPLATES = (
    "a SIZE COLOUR SHAPE in the ROW COLUMN part",
    "the ROW COLUMN corner holds a SIZE SHAPE in COLOUR",
    "ROW COLUMN a COLOUR SHAPE SIZE",
    "one COLOUR SHAPE of SIZE size at the ROW COLUMN",
)


def _vocabulary() -> tuple[str, ...]:
    fixed = {word for template in _TEMPLATES for word in template.split() if word not in _NAMES}
    chosen = {word for wordings in _CHOICES for wording in wordings for word in wording}
    return ("", *sorted(fixed | chosen))


WORDS = _vocabulary()
"""Every word by its number, the empty one first."""
_NUMBERS = {word: number for number, word in enumerate(WORDS)}
_VALUES = tuple(np.array([[_NUMBERS[word] for word in wording] for wording in wordings]) for wordings in _CHOICES)


def _patterns() -> NDArray[np.int64]:
    """Templates as numbers of words, an attribute as minus one minus its place."""
    rows = np.zeros((len(_TEMPLATES), LENGTH), np.int64)
    for row, template in zip(rows, _TEMPLATES, strict=True):
        for place, word in enumerate(template.split()):
            row[place] = -1 - _NAMES.index(word) if word in _NAMES else _NUMBERS[word]
    return rows


_PATTERNS = _patterns()


def said(meanings: Meanings, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """A caption of each of N meanings: (N, `LENGTH`) word numbers."""
    colour, shape, size, quadrant = attributes(meanings)
    wording = rng.integers(2, size=(len(_CHOICES), len(meanings)))
    values = (colour, shape, size, quadrant // 2, quadrant % 2)
    words = np.stack([table[how, value] for table, how, value in zip(_VALUES, wording, values, strict=True)], 1)
    pattern = _PATTERNS[rng.integers(len(_TEMPLATES), size=len(meanings))]
    filled = np.take_along_axis(words, np.maximum(-1 - pattern, 0), axis=1)
    return np.where(pattern < 0, filled, pattern)


def text(caption: NDArray[np.int64]) -> str:
    """A caption as people read it."""
    return " ".join(WORDS[number] for number in caption if number)
