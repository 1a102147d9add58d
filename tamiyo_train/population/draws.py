"""Which samples every lane sees: what the ordinary trainer would draw, or a hash that a device can work out by itself.

A stream is drawn on the CPU, lane by lane, in blocks that equal the ordinary trainer's calls; it bounds a population on
a GPU to some hundred thousand host-steps a second. A hash of (lane's seed, step, place in the batch) costs nothing
there; it gives every lane the same samples on any device and in any company, but others than the ordinary trainer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch

from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.population.lanes import Lane

Tensor = torch.Tensor
_MULTIPLIERS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
"""Odd 32-bit constants of the hashes MurmurHash3 and xxHash; 31 bits of a product stay below 2^63."""
_MASK = 0x7FFFFFFF


class Draws(StrEnum):
    """Where a population's batches come from."""

    STREAM = "stream"
    """the ordinary trainer's generators"""
    HASHED = "hashed"
    """a hash of seed, step and place"""


def stream_rows(
    lanes: Sequence[Lane | None], counts: Sequence[int], steps: int, config: Episode, data: Tensors
) -> Tensor:
    """What `Tensors.batch` draws in ``counts`` calls of each lane, (steps, N, batch) int64.

    Rows count through all variants, one after the other. Steps beyond a lane's count are left at 0.
    """
    rows = torch.zeros(steps, len(lanes), config.batch, dtype=torch.int64)
    for number, (lane, count) in enumerate(zip(lanes, counts, strict=True)):
        if lane is not None and count > 0:
            rows[:count, number] = _drawn(lane, count, config.batch, data)
    return rows


def hashed_rows(seeds: Tensor, steps: Tensor, batch: int, data: Tensors) -> Tensor:
    """The same shape from seeds (N,) and step numbers (W, N), both int64; a sample is plain with probability 1/2."""
    samples, variants = len(data.train_y), len(data.variants)
    place = torch.arange(batch, device=seeds.device)
    key = _mixed(_mixed(seeds) + steps)[..., None] + place
    rows = _mixed(key) % samples
    if variants == 1:
        return rows
    coins = _mixed(key ^ _MASK)
    return torch.where(coins & 1 == 0, data.still, (coins >> 1) % variants) * samples + rows


def _mixed(values: Tensor) -> Tensor:
    """31 bits that depend on all bits of the values."""
    bits = (values ^ (values >> 31)) & _MASK
    for multiplier in _MULTIPLIERS:
        bits = (bits * multiplier) & _MASK
        bits = bits ^ (bits >> 15)
    return bits


def _drawn(lane: Lane, steps: int, size: int, data: Tensors) -> Tensor:
    made, samples = lane.generators["batches"], len(data.train_y)
    if len(data.variants) == 1:
        return torch.randint(samples, (steps, size), generator=made)  # one block draws what the calls would
    drawn = []
    for _ in range(steps):
        rows = torch.randint(samples, (size,), generator=made)
        variants = torch.randint(len(data.variants), (size,), generator=made)
        plain = torch.rand(size, generator=made) < 0.5
        drawn.append(torch.where(plain, data.still, variants) * samples + rows)
    return torch.stack(drawn)
