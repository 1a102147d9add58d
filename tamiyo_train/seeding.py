"""Randomness that is always passed in: derived seeds, generators, and initialisation that leaves no trace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *path: int | str) -> int:
    """A 63-bit seed for one purpose, from the run's seed and the purpose's name: independent streams by hashing."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """A generator for one purpose."""
    made = torch.Generator()
    made.manual_seed(derive(seed, *path))
    return made


@contextmanager
def initialising(seed: int) -> Iterator[None]:
    """Build modules from ``seed``; torch's global generator, that of the CPU, is as before afterwards.

    Not by `torch.manual_seed`: that seeds accelerators too, for good, and for each that nobody has used yet it writes
    down the stack of the call, which takes longer than making the module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: faster at this size when cores are shared, and the same sums in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
