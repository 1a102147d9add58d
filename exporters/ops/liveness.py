"""Which activations exist at the same time, given what each operator reads and writes.

A tensor lives from the operator that writes it (a graph's input from the start) to the last that reads it (a graph's
output to the end), so what a residual connection carries past its branch is counted all along the branch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Generic[Key]):
    """The activations that one operator reads and writes, by any key; constants are left out."""

    reads: Sequence[Key]
    writes: Sequence[Key]


def live_bytes(steps: Sequence[Access[Key]], sizes: Mapping[Key, int]) -> list[int]:
    """Bytes of all activations that exist while each operator runs; ``sizes`` by key, in bytes."""
    written = {key: at for at, step in reversed(list(enumerate(steps))) for key in step.writes}
    read = {key: at for at, step in enumerate(steps) for key in step.reads}
    live = [0] * len(steps)
    for key in written.keys() | read.keys():
        first, last = written.get(key, 0), read.get(key, len(steps) - 1)
        for at in range(first, max(first, last) + 1):
            live[at] += sizes[key]
    return live
