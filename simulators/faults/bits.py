"""Bits of the weights that flip in memory, after the file was verified: what a signature cannot see.

A draw names a bit of all weights of all graphs, at (seed, number of the flip). Weights are the constant int8 and
float32 tensors of TFLite files; shapes, axes and int32 biases stay as they are. What becomes of it is measured in
``docs/devices.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from simulators.faults.rig import Rig
from simulators.lorawan.streams import Purpose, uniforms
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.screening.flatbuffer import Table

SUFFIX = ".tflite"
_FLOAT32, _INT8 = 0, 9
_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BitFlips:
    """So many flips; two of one bit undo each other."""

    bits: int

    def __post_init__(self) -> None:
        require(0 < self.bits <= _MOST, "bits", f"must be in 1..{_MOST}, got {self.bits:.3g}")

    def built_into(self, rig: Rig) -> Rig:
        """The rig with a faulty memory."""
        return replace(rig, bundle=(*rig.bundle, self.in_memory))

    def in_memory(self, bundle: Bundle, seed: int) -> Bundle:
        """The bundle with its flips; raises IncompatibleError when it holds no TFLite graph."""
        graphs = {name: bundle.read(name) for name in bundle.names if name.startswith("graphs/") and SUFFIX in name}
        if not graphs:
            raise IncompatibleError(f"{bundle.name} holds no TFLite graph", hint="bit flips know that format only")
        files = {name: bundle.read(name) for name in bundle.names}
        return Bundle(
            name=bundle.name,
            size_bytes=bundle.size_bytes,
            manifest=bundle.manifest,
            digest=bundle.digest,
            signer=bundle.signer,
            files=files | self.flipped(graphs, seed),
        )

    def flipped(self, graphs: Mapping[str, bytes], seed: int) -> dict[str, bytes]:
        """The graphs by name, with the flips in them."""
        places = [(name, start, size) for name, data in graphs.items() for start, size in weights_of(data)]
        ends = list(accumulate(size for _, _, size in places))
        changed = {name: bytearray(data) for name, data in graphs.items()}
        drawn, _ = uniforms(seed, Purpose.BIT, 0, np.arange(self.bits))
        for bit in (drawn * ends[-1] * 8).astype(np.int64).tolist() if ends else ():
            byte, place = bit // 8, int(np.searchsorted(ends, bit // 8, side="right"))
            name, start, size = places[place]
            changed[name][start + byte - (ends[place] - size)] ^= 1 << (bit % 8)
        return {name: bytes(data) for name, data in changed.items()}


def weights_of(model: bytes) -> list[tuple[int, int]]:
    """Start and length in bytes of each constant int8 or float32 tensor of a TFLite file, each once."""
    root = Table.root(model)
    buffers = list(root.tables(4))
    found: dict[int, tuple[int, int]] = {}
    for subgraph in root.tables(2):
        for tensor in subgraph.tables(0):
            if tensor.scalar(1, "B") in (_FLOAT32, _INT8):
                start, size = buffers[tensor.scalar(2, "I")].span(0, 1)
                if size:
                    found[start] = (start, size)
    return [found[start] for start in sorted(found)]
