"""Lines of text as samples: cutting bytes into lines of bounded length, and reading the numbers of one.

Pure functions of bytes, since what comes in is whatever the other side sends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.sources.base import Array, Loss
from tamiyo_runtime.sources.inbox import FlawError

_CHARACTERS_A_NUMBER = 32
_LEAST_LIMIT = 4096
_SEPARATOR = re.compile(r"[\s,;]+")


def line_limit(spec: InputSpec) -> int:
    """Bytes that a line may have: plenty for as many numbers as a sample has."""
    return max(_LEAST_LIMIT, _CHARACTERS_A_NUMBER * math.prod(spec.shape))


class LineSplitter:
    """Cuts a stream of bytes into lines, and holds no more of it than one line may be long.

    ``skip_first``: what comes before the first line end is dropped, as on a wire that is joined in mid-sentence.
    """

    def __init__(self, limit_bytes: int, *, skip_first: bool = False) -> None:
        self._limit = limit_bytes
        self._rest = b""
        self._skipping = skip_first
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Whole lines, without their ends; None for each that is too long. Empty lines are left out."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole, self._rest = self._rest + line, b""
            if self._skipping:
                self._skipping = False
            elif self._too_long or len(whole) > self._limit:
                yield None
            elif whole := whole.strip():
                yield whole
            self._too_long = False
        self._rest += rest
        if len(self._rest) > self._limit:
            self._rest, self._too_long = b"", True

    def finish(self) -> bytes | None:
        """What is left when the stream ends: a line without an end, or None."""
        rest, self._rest = self._rest.strip(), b""
        return rest if rest and not (self._skipping or self._too_long) else None


def parse_line(line: bytes, spec: InputSpec) -> Array:
    """A sample, float32 of the bundle's shape; raises FlawError.

    Numbers are separated by commas, semicolons or blanks, in C order; or the line is a JSON array, flat or nested.
    """
    if line.startswith(b"["):
        return shaped(_json_numbers(line), spec)
    text = line.decode("ascii", "replace").strip(", ;\t\r")
    try:
        numbers = [float(word) for word in _SEPARATOR.split(text)]
    except ValueError:
        numbers = []
    if not numbers or "_" in text:  # float() takes 1_000 for a number
        raise FlawError(Loss.NOT_NUMBERS, "it holds something that is no number")
    return shaped(np.array(numbers), spec)


def shaped(values: Array, spec: InputSpec) -> Array:
    """Numbers as a sample; raises FlawError when they are too few, too many, or not what the sensor gives."""
    count = math.prod(spec.shape)
    if values.size != count:
        raise FlawError(Loss.WRONG_COUNT, f"it holds {values.size} numbers, the bundle takes {count}")
    if values.ndim > 1 and values.shape not in (spec.shape, spec.shape[1:] if spec.shape[0] == 1 else spec.shape):
        raise FlawError(
            Loss.WRONG_COUNT, f"it has shape {list(values.shape)}, the bundle takes {list(spec.shape)} or a flat array"
        )
    with np.errstate(over="ignore"):  # 1e300 is a number, and an infinite float32
        sample = np.ascontiguousarray(values, np.float32).reshape(spec.shape)
    if not np.isfinite(sample).all():
        raise FlawError(Loss.NOT_FINITE, "it holds NaN or infinity")
    low, high = float(sample.min()), float(sample.max())
    if low < spec.raw_low or high > spec.raw_high:
        raise FlawError(
            Loss.OUT_OF_RANGE,
            f"it goes from {low:g} to {high:g}, the bundle takes {spec.raw_low:g} to {spec.raw_high:g}",
        )
    return sample


def _json_numbers(line: bytes) -> Array:
    try:
        data: Any = json.loads(line)
        if not _only_numbers(data):
            raise FlawError(Loss.NOT_NUMBERS, "its JSON holds something that is no number")
        return np.asarray(data, np.float64)
    except (ValueError, OverflowError, RecursionError) as exc:
        raise FlawError(Loss.NOT_NUMBERS, f"it is no JSON array of numbers ({type(exc).__name__})") from None


def _only_numbers(data: Any) -> bool:
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, bool) or not isinstance(item, int | float):
            return False
    return True
