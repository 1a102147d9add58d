"""The segment plan: how a grown network is cut up, and which subsets of its seeds can be run.

    input -> trunk0 -> [seed0] -> trunk1 -> [seed1] -> ... -> head -> logits

A *slot* lies between two trunk pieces; the seed in it may be on or off, the tensors on both sides of a seam have one
shape and, in int8, one quantisation range, so raw values pass whichever seeds are on.

A *variant* is one compiled form of the whole network (ONNX float, TFLite int8 ...). Every configuration runs as a
*chain* of that variant's graphs. Three layouts share this one description:

* segments: one graph a piece, a configuration chains the pieces that are on;
* whole: one graph a configuration, chains of length one (where a boundary is dear, as on an Edge TPU);
* gated: one graph with an ``If`` per seed; every chain is that graph, and the gates are fed as inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tamiyo_runtime.contracts.cost import Cost
from tamiyo_runtime.contracts.document import require, require_finite

MAX_ELEMENTS = 1 << 24
"""Elements of the largest tensor at an end of a graph; a manifest that states more would have memory filled with it."""
_MAX_RANK = 8


def require_shape(shape: tuple[int, ...]) -> None:
    """Raise SchemaError unless this is the shape of a tensor that fits a device."""
    require(len(shape) <= _MAX_RANK, "shape", f"has {len(shape)} dimensions, the limit is {_MAX_RANK}")
    require(all(n > 0 for n in shape), "shape", f"dimensions must be above 0, got {shape}")
    require(math.prod(shape) <= MAX_ELEMENTS, "shape", f"{shape} has over {MAX_ELEMENTS} elements")


class SegmentKind(StrEnum):
    """What a piece of the network is."""

    TRUNK = "trunk"
    SEED = "seed"
    HEAD = "head"


class Layout(StrEnum):
    """How a variant's graphs make up a configuration."""

    SEGMENTS = "segments"
    WHOLE = "whole"
    GATED = "gated"


class Format(StrEnum):
    """File format of a graph."""

    TFLITE = "tflite"
    ONNX = "onnx"


class Precision(StrEnum):
    """Number format a graph computes in."""

    FLOAT32 = "float32"
    INT8 = "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """Affine int8 quantisation of one tensor: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        require_finite(scale=self.scale)
        require(self.scale > 0, "scale", f"must be above 0, got {self.scale}")
        require(-128 <= self.zero_point <= 127, "zero_point", f"must fit int8, got {self.zero_point}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Shape (batch first, batch 1) and number format of a graph's input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantisation: Quantisation | None = None

    def __post_init__(self) -> None:
        require_shape(self.shape)
        require(self.dtype in {"float32", "int8", "uint8", "bool"}, "dtype", f"unsupported {self.dtype!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of the network. ``slot`` is set for seeds; costs are per inference on the bundle's profile."""

    name: str
    kind: SegmentKind
    slot: int | None = None
    blueprint: str | None = None
    params: int = 0
    macs: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            (self.kind is SegmentKind.SEED) == (self.slot is not None),
            "slot",
            "is for seeds, and only for them",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """The tensor at a slot: its shape and the real range that every int8 graph touching it was given."""

    slot: int
    shape: tuple[int, ...]
    low: float
    high: float

    def __post_init__(self) -> None:
        require_shape(self.shape)
        require_finite(low=self.low, high=self.high)
        require(self.low <= self.high, "low", f"{self.low} is above {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPlan:
    """All pieces in running order, and the seams between them. ``slots`` counts slots, filled or not."""

    slots: int
    segments: tuple[Segment, ...]
    seams: tuple[Seam, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [segment.name for segment in self.segments]
        require(len(set(names)) == len(names), "segments", "two segments share a name")
        require(
            bool(names) and self.segments[-1].kind is SegmentKind.HEAD,
            "segments",
            "the last one must be the head",
        )
        seeded = [segment.slot for segment in self.segments if segment.slot is not None]
        require(seeded == sorted(set(seeded)), "segments", "seeds must come in slot order, one a slot")
        require(
            all(0 <= slot < self.slots for slot in seeded),
            "segments",
            f"a slot is not in 0..{self.slots - 1}",
        )

    @property
    def seeded_slots(self) -> tuple[int, ...]:
        """Slots that hold a seed, in order."""
        return tuple(segment.slot for segment in self.segments if segment.slot is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One runnable subset of the seeds. ``gates[i]`` says whether the seed of slot ``i`` runs."""

    id: str
    gates: tuple[bool, ...]

    @staticmethod
    def name_of(gates: tuple[bool, ...]) -> str:
        """The id of a gate pattern, slot 0 first: ``c1010``."""
        return "c" + "".join("1" if gate else "0" for gate in gates)

    def __post_init__(self) -> None:
        require(self.id == self.name_of(self.gates), "id", f"must be {self.name_of(self.gates)}, got {self.id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A file of the bundle that an interpreter loads. ``file`` is its path inside the bundle.

    ``latency_ms``: what one invocation is estimated to take on the profile; None where nobody said.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        require_finite(latency_ms=self.latency_ms)
        require(self.latency_ms is None or self.latency_ms >= 0, "latency_ms", "must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable:
    """A configuration as one variant runs it: the chain of graph names, its cost, and its accuracy on the test set.

    ``accuracy`` is a fraction measured by running this chain; None when it was not measured.
    """

    configuration: str
    chain: tuple[str, ...]
    cost: Cost
    accuracy: float | None = None

    def __post_init__(self) -> None:
        require(bool(self.chain), "chain", "must not be empty")
        require(
            self.accuracy is None or 0 <= self.accuracy <= 1,
            "accuracy",
            f"must be in [0, 1], got {self.accuracy}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One compiled form of the network. Runnables are sorted by estimated latency, cheapest first.

    In a gated layout the one graph's inputs after the first are the gates, in the order of the plan's seeded slots.
    """

    id: str
    format: Format
    precision: Precision
    layout: Layout
    graphs: Mapping[str, Graph]
    runnables: tuple[Runnable, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(bool(self.runnables), "runnables", "must not be empty")
        for runnable in self.runnables:
            for name in runnable.chain:
                require(name in self.graphs, "runnables", f"{runnable.configuration} names no graph '{name}'")
        costs = [runnable.cost.latency_ms.value for runnable in self.runnables]
        require(costs == sorted(costs), "runnables", "must be sorted by latency, cheapest first")
