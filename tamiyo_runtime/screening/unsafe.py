"""What the checks of the formats have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable

MAX_TENSOR_BYTES = 256 << 20
"""Most memory that the tensors a graph names may take together: more than any bundle's device would give it."""


class UnsafeGraph(ValueError):  # noqa: N818  a verdict on a file, turned into an IntegrityError by `screen`
    """Why a graph must not reach an interpreter, as the rest of a sentence that begins with the file's name."""


def elements(shape: Iterable[int], what: str) -> int:
    """Number of elements of a shape; raises UnsafeGraph for a negative dimension."""
    sizes = tuple(shape)
    if any(size < 0 for size in sizes):
        raise UnsafeGraph(f"has a tensor {what} with a negative dimension: {list(sizes)[:8]}")
    return math.prod(sizes)


def check_memory(size_bytes: int) -> None:
    """Raise UnsafeGraph when that is more than any graph of ours would take."""
    if size_bytes > MAX_TENSOR_BYTES:
        raise UnsafeGraph(f"asks for {size_bytes} bytes of tensors, the limit is {MAX_TENSOR_BYTES}")
