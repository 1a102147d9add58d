"""Random numbers by address: Philox4x32-10, where (seed, purpose, device, index) names a draw.

A counter-based generator has no state to hand on, so what device 7 draws for its packet 12 is the same in any order, in
batches of any size and in either engine. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11; the
tests hold the known answers of its authors' library.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_CHUNK = 1 << 14
"""Draws at a time: small enough for a core's cache. The result does not depend on it."""


class Purpose(IntEnum):
    """What a draw is for: two purposes never share one."""

    PLACE = 1
    PHASE = 2
    GAP = 3
    CHANNEL = 4
    FADING = 5
    SHADOW_DEVICE = 6
    SHADOW_LINK = 7
    JOIN = 8
    FAULT = 9
    CLOUD = 16
    JITTER = 17
    BIT = 19
    EPISODE = 20


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Four 32-bit words for each counter of four 32-bit words; words travel in uint64 arrays of one shape."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        even, odd = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (odd >> _HALF) ^ c1 ^ np.uint64(k0), (even >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = odd & _LOW, even & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(
    seed: int, purpose: Purpose, device: ArrayLike, index: ArrayLike, *, salt: int = 0
) -> tuple[Floats, Floats]:
    """Two draws in [0, 1) for each pair of device and index, broadcast against each other; 53 bits each.

    ``seed`` counts modulo 2^64, device and index modulo 2^32; ``salt`` tells gateways apart where a draw is a link's.
    """
    devices, indices = np.broadcast_arrays(np.asarray(device), np.asarray(index))
    flat_devices = devices.reshape(-1).astype(np.uint64) & _LOW
    flat_indices = indices.reshape(-1).astype(np.uint64) & _LOW
    one, two = np.empty(flat_devices.size), np.empty(flat_devices.size)
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    for start in range(0, flat_devices.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        size = flat_devices[part].size
        purposes, salts = np.full(size, int(purpose), np.uint64), np.full(size, salt, np.uint64)
        words = philox((flat_indices[part], flat_devices[part], purposes, salts), key)
        one[part] = _fraction(words[0], words[1])
        two[part] = _fraction(words[2], words[3])
    return one.reshape(devices.shape), two.reshape(devices.shape)


def normals(seed: int, purpose: Purpose, device: ArrayLike, index: ArrayLike, *, salt: int = 0) -> Floats:
    """A standard normal draw for each address, by Box and Muller."""
    one, two = uniforms(seed, purpose, device, index, salt=salt)
    normal: Floats = np.sqrt(-2.0 * np.log1p(-one)) * np.cos(2.0 * np.pi * two)
    return normal


class Blocks:
    """Figures of a fleet's transmissions one at a time, computed for all devices in blocks of indices.

    ``compute`` takes device numbers (devices, 1) and indices (indices,) and gives (figures, devices, indices).
    """

    _SIZE = 16

    def __init__(self, devices: int, compute: Callable[[Ints, Ints], Floats]) -> None:
        self._devices = np.arange(devices)[:, None]
        self._compute = compute
        self._blocks: dict[int, Floats] = {}

    def at(self, device: int, index: int, figure: int = 0) -> float:
        """One figure of one transmission, bit for bit as ``compute`` gives it."""
        number, offset = divmod(index, self._SIZE)
        block = self._blocks.get(number)
        if block is None:
            indices = np.arange(number * self._SIZE, (number + 1) * self._SIZE)
            block = self._blocks[number] = self._compute(self._devices, indices)
        value: float = block.item(figure, device, offset)
        return value


def _fraction(high: Words, low: Words) -> Floats:
    return ((high << _HALF | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53
