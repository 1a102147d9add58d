"""Counter-based random numbers: a draw is a hash of what it is for, so neither order nor batch size can change it.

SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) gives the word at any place of its sequence at once: mix(key + n gamma).
Every (seed, purpose, device) starts that sequence at a place of its own, and n is the step. A word is 64 bits, read as
two uniforms of 24 bits, or as two normals by Box and Muller.

Not cryptography, and no help against somebody who chooses seeds.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float32]

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_UNIT = np.float32(2.0**-24)
_TURN = np.float32(2 * np.pi)


def mixed(word: int) -> int:
    """SplitMix64's finaliser of a Python integer."""
    word &= _MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31


def key(seed: int, *path: int) -> int:
    """Where the stream of a seed and a purpose begins."""
    word = mixed(seed + _GAMMA)
    for part in path:
        word = mixed(word + (part + 1) * _GAMMA)
    return word


def keys(seed: int, purpose: int, devices: NDArray[np.int64]) -> Words:
    """A stream for each device: (devices,)."""
    start = np.uint64(key(seed, purpose))
    with np.errstate(over="ignore"):
        return _mix(start + (devices.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA))


def words(starts: Words, first: int, count: int) -> Words:
    """Words ``first`` to ``first + count`` of each stream: (devices, count)."""
    places = np.arange(first, first + count, dtype=np.uint64) * np.uint64(_GAMMA)
    return _mix(starts[:, None] + places[None, :])


def words_at(starts: Words, places: NDArray[np.int64]) -> Words:
    """A word of each of (n,) streams, each at a place of its own."""
    return _mix(starts + places.astype(np.uint64) * np.uint64(_GAMMA))


def uniforms(drawn: Words) -> tuple[Floats, Floats]:
    """Two uniforms in [0, 1) of each word."""
    high = (drawn >> np.uint64(40)).astype(np.uint32).astype(np.float32)
    low = (drawn.astype(np.uint32) >> np.uint32(8)).astype(np.float32)
    high *= _UNIT
    low *= _UNIT
    return high, low


def normals(drawn: Words) -> tuple[Floats, Floats]:
    """Two standard normals of each word, at most 5.8 from 0."""
    radius, angle = uniforms(drawn)
    np.subtract(np.float32(1), radius, out=radius)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= _TURN
    other = np.sin(angle)
    np.cos(angle, out=angle)
    angle *= radius
    other *= radius
    return angle, other


def _mix(word: Words) -> Words:
    """`mixed` in place, for arrays."""
    word ^= word >> np.uint64(30)
    word *= np.uint64(0xBF58476D1CE4E5B9)
    word ^= word >> np.uint64(27)
    word *= np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return word
