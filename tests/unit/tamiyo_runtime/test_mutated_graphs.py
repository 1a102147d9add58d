"""Seeded mutations of a good bundle's graphs, signed again: refused with a reason, or harmless; nobody dies of them.

A mutant that passes the screening and the canary, and answers every vector right, is harmless by definition: it is
counted, not refused.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cage import Limits
from tamiyo_runtime.canary import examine
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.signing import Trust
from tests.attacker import KEY, Attacker

LIMITS = Limits(memory_bytes=300 << 20, cpu_s=5, wall_s=120.0)
TRUSTED = Trust.of(KEY.public)
MOST_GROWTH_BYTES = 32 << 20
_TELLING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Mutation = Callable[[np.random.Generator, bytes, bytes], bytes]


def flip(random: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """A few bits."""
    out = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        out[random.integers(len(out))] ^= 1 << int(random.integers(8))
    return bytes(out)


def word(random: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """A few words, each a telling one."""
    out = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        struct.pack_into("<I", out, int(random.integers(len(out) - 3)), int(random.choice(_TELLING)))
    return bytes(out)


def cut(random: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """The beginning only, or a hole."""
    start, end = sorted(int(place) for place in random.integers(0, len(data), 2))
    return data[: max(start, 1)] if random.random() < 0.5 else data[:start] + data[end:]


def splice(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """A piece of another graph over a piece of this one."""
    length = int(random.integers(1, min(len(data), len(other), 64)))
    here, there = int(random.integers(len(data) - length)), int(random.integers(len(other) - length))
    return data[:here] + other[there : there + length] + data[here + length :]


def repeat(random: np.random.Generator, data: bytes, _: bytes) -> bytes:
    """A piece twice."""
    start, end = sorted(int(place) for place in random.integers(0, len(data), 2))
    return data[:end] + data[start:]


MUTATIONS: tuple[Mutation, ...] = (flip, word, cut, splice, repeat)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def verdict_on(path: Path, data: bytes) -> str:
    """What becomes of a bundle, as a class to count; raises what is no IntegrityError."""
    path.write_bytes(data)
    try:
        Bundle.parse(data, name=path.name, trusted=TRUSTED)
    except IntegrityError as exc:
        assert exc.message.isprintable()
        return "refused by the screening"
    try:
        failed = examine(path, trusted=TRUSTED, limits=LIMITS).failed
    except IntegrityError as exc:
        assert exc.message.isprintable()
        assert len(exc.message) < 500
        if died := re.search(r"its process (ended with signal \w+|used more|was killed|did not end)", exc.message):
            return f"its process {died[1]}"
        return "refused by the engine" if "its process" not in exc.message else f"? {exc.message}"
    return "answers wrong" if failed else "harmless: answers right"


def campaign(folder: Path, *, seed: int, count: int) -> Counter[str]:
    random = np.random.default_rng(seed)
    good = Attacker()
    graphs = sorted(name for name in good.files if name.endswith((".tflite", ".onnx")))
    resident_before, classes = 0, Counter[str]()
    for turn in range(count):
        # As often the one ONNX file as all the TFLite files together.
        name = "graphs/onnx/net.onnx" if random.random() < 0.4 else str(random.choice(graphs))
        other = good.files[str(random.choice(graphs))]
        mutate = MUTATIONS[int(random.integers(len(MUTATIONS)))]
        original, entry = good.files[name], good.manifest["files"][name]
        good.replace(name, mutate(random, original, other))
        classes[verdict_on(folder / "mutant.tamiyo", good.bytes)] += 1
        good.files[name], good.manifest["files"][name] = original, entry
        if turn == 10:  # what is loaded once is loaded
            resident_before = resident_bytes()
    if count > 10:
        assert resident_bytes() - resident_before < MOST_GROWTH_BYTES
    return classes


def checked(classes: Counter[str], count: int) -> None:
    print(*(f"{number:5} {what}" for what, number in classes.most_common()), sep="\n")
    assert classes.total() == count
    assert not [what for what in classes if what.startswith("?")]
    assert classes["refused by the screening"] > 0


def test_a_sample_of_mutants_is_refused_or_harmless(tmp_path: Path) -> None:
    checked(campaign(tmp_path, seed=3, count=15), 15)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_hundreds_of_mutants_are_refused_or_harmless(tmp_path: Path) -> None:
    classes = campaign(tmp_path, seed=0, count=400)
    checked(classes, 400)
    assert classes["harmless: answers right"] < 200
