"""What a relay is told to do, and what it says that it did."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum

from tamiyo_runtime.contracts.document import require, require_finite


class Passage(StrEnum):
    """What the relay does with connections."""

    FORWARD = "forward"
    REFUSE = "refuse"  # nobody listens: as a machine that is up with its server down
    SWALLOW = "swallow"  # accepted, and not a byte passes: as a router that drops everything; held bytes pass later


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How one direction is. ``damage``: the share of bytes of which one bit is turned over.

    Raises SchemaError for a figure out of range.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # up to that much more, uniformly; order is kept
    bytes_per_s: float = math.inf
    damage: float = 0.0

    def __post_init__(self) -> None:
        require_finite(delay_ms=self.delay_ms, jitter_ms=self.jitter_ms, damage=self.damage)
        require(self.delay_ms >= 0 and self.jitter_ms >= 0, "delay_ms", "must not be negative, nor jitter_ms")
        require(self.bytes_per_s > 0, "bytes_per_s", f"must be above 0, got {self.bytes_per_s}")
        require(0 <= self.damage <= 1, "damage", f"must be 0..1, got {self.damage}")


CLEAR = Conditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the relay did so far: ``bytes_up`` went to the server, ``bytes_down`` to clients.

    ``cut``: connections that it reset; ``refused``: for which there was no server. ``open``: now.
    """

    connections: int
    open: int
    cut: int
    refused: int
    bytes_up: int
    bytes_down: int
    damaged: int


def damaged(data: bytes, share: float, rng: random.Random) -> tuple[bytes, int]:
    """``data`` with one bit turned over in a share of its bytes, and in how many."""
    if share <= 0:
        return data, 0
    out, place, count = bytearray(data), -1, 0
    while True:  # the distances between damaged bytes are geometric: no need to draw for each byte
        gap = 1 if share >= 1 else 1 + int(math.log(1.0 - rng.random()) / math.log1p(-share))
        place += gap
        if place >= len(out):
            return bytes(out), count
        out[place] ^= 1 << rng.randrange(8)
        count += 1
